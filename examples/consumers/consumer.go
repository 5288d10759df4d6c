// Keeps each event of a queue in a file: go run consumer.go SOCKET QUEUE FILE. Lease, work, settle; a crash loses nothing.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"
)

type object map[string]any

type leased struct {
	Lease  string
	Events []struct {
		Seq     uint64
		Attempt int
		Event   json.RawMessage
	}
}

var leaseMs = 30000
var daemon = http.Client{Timeout: 90 * time.Second, Transport: &http.Transport{
	DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", os.Args[1])
	},
}}

// Yours. The same id may come twice.
func work(event []byte) error {
	file, err := os.OpenFile(os.Args[3], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err = file.Write(append(event, '\n')); err != nil {
		return err
	}
	return file.Sync()
}

func call(what string, body object, into any) error {
	text, _ := json.Marshal(body)
	address := "http://ringhookd/v1/queues/" + url.PathEscape(os.Args[2]) + "/" + what
	answer, err := daemon.Post(address, "application/json", bytes.NewReader(text))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: the daemon answered %s", what, answer.Status)
	}
	return json.NewDecoder(answer.Body).Decode(into)
}

func keep(ctx context.Context, lease string) {
	for tick := time.NewTicker(time.Duration(leaseMs) * time.Millisecond / 3); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C: // A lease that can't be extended runs out, unless the next try arrives.
			_ = call("extend", object{"lease": lease, "visibility_ms": leaseMs}, &object{})
		}
	}
}

func step() error {
	var got leased
	if err := call("lease", object{"max": 1, "wait_ms": 60000, "visibility_ms": leaseMs}, &got); err != nil {
		return err
	}
	for _, one := range got.Events {
		ctx, settled := context.WithCancel(context.Background())
		go keep(ctx, got.Lease)
		outcome := object{"lease": got.Lease, "ack": []uint64{one.Seq}}
		if err := work(one.Event); err != nil {
			delay := time.Second << min(one.Attempt, 9)
			nack := object{"seq": one.Seq, "delay_ms": delay.Milliseconds(), "why": err.Error()}
			outcome = object{"lease": got.Lease, "nack": []object{nack}}
		}
		settled()
		if err := call("settle", outcome, &object{}); err != nil {
			return err
		}
	}
	return nil
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}

func main() {
	if text, is := os.LookupEnv("LEASE_MS"); is {
		leaseMs, _ = strconv.Atoi(text)
	}
	for {
		if err := step(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			time.Sleep(time.Second) // The daemon restarts. What was not settled comes again.
		}
	}
}

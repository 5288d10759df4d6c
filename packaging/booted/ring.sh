#!/usr/bin/env bash
# Tokens from a simulated Ring, metrics and status on a booted machine: the unit's sandbox lets the daemon reach what it needs; machine.sh
# runs it after day.sh.
source "$(dirname "$0")/tools.sh"

config=/etc/ringhookd/config.toml
account=ava1.ring.account.LINKED

step "an account of Ring's"
systemd-run --quiet --unit=ring ringhookd simulate --json --accounts 0
answers() { curl -fsS http://127.0.0.1:8490/sim/state; }
await "the simulated Ring" answers
said=$(journalctl --unit ring --output cat --no-pager | grep client_secret)
jq -j .client_secret <<< "$said" |
    systemd-creds encrypt --with-key=host --name=client.secret - /etc/credstore.encrypted/ringhookd.client.secret
sed -i "s#^client_id = .*#client_id = \"$(jq -r .client_id <<< "$said")\"\noauth_url = \"$(jq -r .oauth_url <<< "$said")\"\napi_url = \"$(jq -r .api_url <<< "$said")\"#" $config
printf '\n[metrics]\nlisten = "127.0.0.1:9464"\n' >> $config
documented systemd/README.md check
systemctl restart ringhookd
curl -fsS http://127.0.0.1:8490/sim/account -d "{\"account\":\"$account\"}" | jq '{refresh_token, user: "ann"}' | ringhookd accounts import -
token=$(ringhookd token $account --min-life 2h)
[ -n "$token" ] || fail "no token"
says "$(ringhookd accounts list)" ann

step "status and metrics"
curl -fsS http://127.0.0.1:9464/readyz
says "$(curl -fsS http://127.0.0.1:9464/metrics)" 'ringhookd_'
systemctl stop ring

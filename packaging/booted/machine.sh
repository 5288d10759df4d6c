#!/usr/bin/env bash
# Boots a throw-away machine under systemd, once for each script, which runs in it as root: packaging/booted/machine.sh SHARED SCRIPT...
#
# It is this machine's files with a layer in memory over them, in namespaces of their own, and its one network is a loopback. So nothing is
# written here but into the folder SHARED, which is /shared in there, and mounts and processes end with this script, however it ends.
# Its exit code is that of the first script that fails.
set -euo pipefail
usage="usage: machine.sh SHARED SCRIPT..."
shared=$(realpath "${1:?$usage}")
patience=300

if [ "${STAGE:-}" != namespaces ]; then
    : "${2:?$usage}"
    exec setpriv --pdeathsig KILL env STAGE=namespaces \
        unshare --mount --propagation private --pid --fork --kill-child=KILL --mount-proc "$0" "$@"
fi
shift

# What systemd-nspawn notes of its machines stays in here, and the old control groups, where there are any, out of sight.
mount -t tmpfs -o mode=0755 tmpfs /run
umount --recursive /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
group=/sys/fs/cgroup/ringhookd-booted
mkdir -p $group
echo $$ > $group/cgroup.procs
end() {
    echo $$ > /sys/fs/cgroup/cgroup.procs
    find $group -depth -type d -exec rmdir {} \;
}
trap end EXIT

base=/run/machine
mkdir -p $base/{host,layer}
mount --bind / $base/host
mount -t tmpfs -o mode=0755 tmpfs $base/layer
mkdir $base/layer/{changes,work,root}
root=$base/layer/root
mount -t overlay -o lowerdir=$base/host,upperdir=$base/layer/changes,workdir=$base/layer/work overlay $root
# Nothing of this machine's starts in there, and it is no first boot, which would enable all there is.
rm -rf $root/etc/systemd/system/*.wants
systemd-id128 new > $root/etc/machine-id

: > "$shared/said"
for script in "$@"; do
    cat > $root/etc/systemd/system/script.service <<-END
		[Unit]
		Description=The script
		After=multi-user.target
		SuccessAction=exit-force
		FailureAction=exit-force

		[Service]
		Type=oneshot
		ExecStart=$script
		Environment=HOME=/root PATH=$PATH
		WorkingDirectory=/root
		StandardOutput=append:/shared/said
		StandardError=inherit
		TimeoutStartSec=$patience
	END
    cat > $root/etc/systemd/system/script.target <<-END
		[Unit]
		Description=A usual start, and then the script
		Requires=multi-user.target script.service
	END
    timeout --foreground --kill-after=10 $((patience + 60)) \
        systemd-nspawn --quiet --boot --register=no --keep-unit --link-journal=no --private-network --console=pipe \
        --bind="$shared:/shared" --machine=ringhookd-booted --directory=$root -- --unit=script.target --show-status=no < /dev/null
done

#!/bin/sh
# the AVX-512 kernels in an emulated machine (Bochs, a Skylake-X): selftest of the matrix product, for CPUs without AVX-512
#
# avx512-emulated.sh BUILD DIR. Boots Debian's cloud kernel with the program and its libraries as the only files; some fifty times slower than the
# machine itself: OPS ("matmul", some minutes) with ROUNDS (2) random cases each. The emulator knows no bf16 and no matrix unit.
# Needs bochs, bochs-term, isolinux, syslinux-common, genisoimage, busybox-static, cpio, bsdutils and apt-get (for the kernel); installs nothing.
set -u
tenet=$(realpath "$1")/tenet
cd "$2" || exit 1
for tool in bochs genisoimage cpio script apt-get dpkg; do command -v $tool >/dev/null 2>&1 || { echo "needs $tool"; exit 77; }; done
for file in /bin/busybox /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 /usr/share/bochs/BIOS-bochs-latest; do
    [ -f $file ] || { echo "needs $file"; exit 77; }
done
kernel=${KERNEL:-}
if [ -z "$kernel" ]; then
    package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends/ { print $2; exit }')
    { apt-get download "$package" && dpkg -x linux-image*.deb kernel; } >kernel.txt 2>&1 || { echo "apt-get gives no kernel"; exit 77; }
    kernel=$(ls kernel/boot/vmlinuz*)
fi

mkdir -p root/bin root/dev root/proc root/sys root/tmp iso/boot/isolinux
cp /bin/busybox root/bin/
for name in sh mount cat echo grep sort date poweroff; do ln -s busybox root/bin/$name; done
cp "$tenet" root/tenet
ldd "$tenet" | grep -o '/[^ ]*' | sort -u | while read -r lib; do mkdir -p "root$(dirname "$lib")" && cp -L "$lib" "root$lib"; done
cat >root/init <<END
#!/bin/sh
/bin/busybox mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
export PATH=/bin HOME=/tmp
exec >/dev/ttyS0 2>&1
grep -q -w avx512f /proc/cpuinfo || echo "NO AVX-512"
for op in ${OPS:-matmul}; do
    /tenet selftest \$op --threads 1 --rounds ${ROUNDS:-2}
    echo "RESULT \$op \$?"
done
echo THE END
busybox sleep 5                          # the line is slower than the power switch
poweroff -f
END
chmod +x root/init
(cd root && find . | cpio -o -H newc 2>/dev/null | gzip -1) >iso/boot/initrd
cp "$kernel" iso/boot/vmlinuz
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 iso/boot/isolinux/
# Bochs's size of a compacted state is not the kernel's, which would do without AVX then.
cat >iso/boot/isolinux/isolinux.cfg <<'END'
default l
prompt 0
label l
 kernel /boot/vmlinuz
 append initrd=/boot/initrd console=ttyS0 quiet nokaslr mitigations=off nopku clearcpuid=xsaves,xsavec apparmor=0 lsm=capability nosmp noapic acpi=off tsc=reliable lpj=1000000
END
genisoimage -q -o boot.iso -b boot/isolinux/isolinux.bin -c boot/isolinux/boot.cat -no-emul-boot -boot-load-size 4 -boot-info-table iso || exit 1
cat >bochsrc <<'END'
plugin_ctrl: serial=1, usb_uhci=0, sb16=0, es1370=0, e1000=0, ne2k=0
megs: 1024
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
cpu: model=corei7_skylake_x, count=1, ips=100000000, reset_on_triple_fault=0
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path=boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=serial.txt
display_library: term
clock: sync=none, time0=local
log: bochs.txt
panic: action=fatal
error: action=ignore
END
# Debian's Bochs has its debugger in it, which asks for a command; and `term` wants a terminal, with a line in that says nothing and does not end.
echo c >command
mkfifo silence
export TERM=xterm
script -qfc "bochs -q -f $PWD/bochsrc -rc command" /dev/null <>silence >screen.txt 2>&1 &
job=$!
trap 'pkill -P $job; kill $job 2>/dev/null; pkill -9 -f "bochs.*$PWD/bochsrc" 2>/dev/null' EXIT
waited=0
until grep -q "THE END\|NO AVX-512\|Kernel panic" serial.txt 2>/dev/null || [ $((waited += 5)) -gt "${SECONDS_AT_MOST:-7200}" ]; do sleep 5; done
tr -d '\r' <serial.txt | grep -v '^\[ *[0-9]'
bad=$(tr -d '\r' <serial.txt | grep -c '^RESULT .* [^0]')
good=$(tr -d '\r' <serial.txt | grep -c '^RESULT .* 0$')
set -- ${OPS:-matmul}
echo "$good of $# operations sound with AVX-512 emulated"
[ "$bad" -eq 0 ] && [ "$good" -eq $# ]

import { execFileSync } from 'node:child_process'
import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { BUSYBOX } from './instance-room.ts'
import { lacksTool } from './system-packages.ts'

/**
 * Where a kernel of Debian and qemu-ga are: this machine's own root, or that of unpacked packages (linux-image-cloud-amd64 and
 * qemu-guest-agent, by `dpkg -x`).
 */
const ROOT = process.env.HOLDFAST_TEST_GUEST ?? '/'
const AGENT = join(ROOT, 'usr/sbin/qemu-ga')
/** In the sequence that they are loaded in; those that are built in are not there. */
const MODULES = [
  ...['virtio_ring', 'virtio', 'virtio_pci_modern_dev', 'virtio_pci_legacy_dev', 'virtio_pci'],
  ...['virtio_blk', 'virtio_console', 'mbcache', 'jbd2', 'crc32c_generic', 'ext4'],
]

/** A Linux with QEMU's agent in it, that writes to an ext4 on its first disk for as long as it runs. */
export interface LinuxGuest {
  readonly kernel: string
  readonly initrd: string
}

export function lacksLinuxGuest(): string | undefined {
  if (kernelVersion() === undefined) return 'no kernel in /boot that may be read, with its modules'
  if (!existsSync(AGENT)) return 'qemu-guest-agent not installed'
  return existsSync(BUSYBOX) ? lacksTool('mkfs.ext4', 'dumpe2fs') : 'busybox-static not installed'
}

const INIT = `#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
for module in ${MODULES.join(' ')}; do test -e /modules/$module.ko && insmod /modules/$module.ko; done
until mount -t ext4 /dev/vda /data; do sleep 0.1; done
for port in /sys/class/virtio-ports/*; do
  test "$(cat $port/name)" = org.qemu.guest_agent.0 && qemu-ga -m virtio-serial -p /dev/\${port##*/} -t /tmp -f /tmp/pid &
done
count=0
while :; do count=$((count + 1)); echo $count > /data/ticks; sleep 0.05; done
`

/** @param folder to be filled */
export function buildLinuxGuest(folder: string): LinuxGuest {
  const version = kernelVersion()
  if (version === undefined) throw new Error('no kernel')
  const tree = join(folder, 'tree')
  for (const name of ['bin', 'usr/sbin', 'proc', 'sys', 'dev', 'tmp', 'data', 'modules'])
    mkdirSync(join(tree, name), { recursive: true })
  copyFileSync(BUSYBOX, join(tree, 'bin/busybox'))
  const own = (path: string, to: string) => {
    mkdirSync(dirname(join(tree, to)), { recursive: true })
    copyFileSync(path, join(tree, to))
  }
  own(AGENT, 'usr/sbin/qemu-ga')
  for (const library of librariesOf(AGENT)) own(library, library)
  const modules = join(ROOT, 'lib/modules', version)
  for (const file of readdirSync(modules, { recursive: true, encoding: 'utf8' }))
    if (file.endsWith('.ko') && MODULES.includes(basename(file, '.ko')))
      own(join(modules, file), `modules/${basename(file)}`)
  writeFileSync(join(tree, 'init'), INIT)
  chmodSync(join(tree, 'init'), 0o755)
  execFileSync(BUSYBOX, ['sh', '-c', 'cd "$1/tree" && chroot . /bin/busybox --install -s /bin', 'sh', folder])
  execFileSync(BUSYBOX, ['sh', '-c', 'cd "$1/tree" && find . | cpio -o -H newc > ../initrd 2> /dev/null', 'sh', folder])
  return { kernel: join(ROOT, `boot/vmlinuz-${version}`), initrd: join(folder, 'initrd') }
}

/** Of the first kernel that there are modules for; they are in no archive of their own, as Debian's are not. */
function kernelVersion(): string | undefined {
  const folder = join(ROOT, 'boot')
  const names = existsSync(folder) ? readdirSync(folder) : []
  const versions = names.flatMap((name) => (name.startsWith('vmlinuz-') ? [name.slice('vmlinuz-'.length)] : []))
  return versions.find((version) =>
    existsSync(join(ROOT, 'lib/modules', version, 'kernel/drivers/block/virtio_blk.ko')),
  )
}

function librariesOf(program: string): readonly string[] {
  const lines = execFileSync('/usr/bin/ldd', [program], { encoding: 'utf8' }).split('\n')
  return lines.flatMap((line) => /(\/\S+)/.exec(line)?.[1] ?? [])
}

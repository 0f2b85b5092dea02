import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { until } from './until.ts'

const EMULATOR = '/usr/bin/qemu-system-x86_64'
const LIBVIRTD = '/usr/sbin/libvirtd'
const VIRSH = '/usr/bin/virsh'
const SECTOR = 512
const DISK_BYTES = 2 ** 20

/** What a domain has beside its disks. */
interface Machine {
  /** XML. */
  readonly devices?: string
  /** Instead of what its first disk boots. */
  readonly kernel?: string
  readonly initrd?: string
  readonly memoryMib?: number
}

/** A libvirtd of one test file, with its own directories, socket and process tree, which ends with this process. */
export interface LibvirtRoom extends AsyncDisposable {
  readonly base: string
  readonly uri: string
  /** Defines a domain that counts on its first disk once it is started. @param disks paths @returns its UUID */
  define(name: string, disks: readonly string[], machine?: Machine): string
  /** Makes what a domain boots from and counts on, in a file that may be there. @returns its path */
  disk(path: string): string
  /** How far a disk's counter is. */
  ticks(disk: string): number
  remove(uuid: string): void
  virsh(...args: readonly string[]): string
}

/**
 * The smallest guest there is: a boot sector. It reads the counter that is on the second sector, and then, at every tick of the machine's
 * clock (55 ms), adds one and writes it there through the BIOS. It powers off when the power button is pressed (ACPI of a PIIX4: status,
 * enable and control at ports 0x600, 0x602, 0x604).
 */
const BOOT_SECTOR = Buffer.from(
  [
    'fa31c08ed88ec08ed0bc007cfb', // no interrupts; ds = es = ss = 0; sp = 7c00; interrupts
    '8816007d', // [7d00] = dl: the disk it came from
    'bef07cb442cd13', // read as the packet at 7cf0 says
    'ba0206b80001ef', // the power button is to be told of
    'ba0006edf6c4017407', // loop: unless it was pressed, go on behind the next line
    'ba0406b80020ef', // off
    '66ff06007e', // ++[7e00]
    'bef07cb800438a16007dcd13', // write as the packet says
    'f4ebdc', // wait for an interrupt; loop
  ].join(''),
  'hex',
)
/** Sixteen bytes; one sector; at 0000:7e00; the second. */
const PACKET = Buffer.from('10000100' + '007e0000' + '0100000000000000', 'hex')

function bootDisk(): Buffer {
  const image = Buffer.alloc(DISK_BYTES)
  BOOT_SECTOR.copy(image)
  PACKET.copy(image, 0xf0)
  image.writeUInt16LE(0xaa55, SECTOR - 2)
  return image
}

const LIBVIRTD_CONF = ['auth_unix_ro = "none"', 'auth_unix_rw = "none"', 'unix_sock_rw_perms = "0700"']
/** Nothing of this machine is to be arranged: no control groups, no labels, no owners. */
const QEMU_CONF = [
  ...['security_driver = "none"', 'user = "root"', 'group = "root"', 'cgroup_controllers = []', 'namespaces = []'],
  ...['stdio_handler = "file"', 'dynamic_ownership = 0', 'remember_owner = 0', 'set_process_name = 0'],
]

/**
 * The directories that libvirtd has built in are this test's where it runs, and the user is there that Debian's other package would make; its
 * first process collects what it leaves behind.
 */
const SCRIPT = `
for file in passwd group; do cp /etc/$file "$1/$file"; done
echo libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin >> "$1/passwd"
echo libvirt-qemu:x:64055: >> "$1/group"
for file in passwd group; do mount --bind "$1/$file" /etc/$file || exit 1; done
for name in etc lib cache log run; do
  case $name in etc|run) at=/$name/libvirt;; *) at=/var/$name/libvirt;; esac
  mkdir -p $at && mount --bind "$1/$name" $at || exit 1
done
${LIBVIRTD} --config /etc/libvirt/libvirtd.conf --pid-file /run/libvirt/libvirtd.pid &
wait $!
`

export async function openLibvirtRoom(): Promise<LibvirtRoom> {
  const base = mkdtempSync('/var/tmp/holdfast-libvirt-')
  for (const name of ['etc', 'lib', 'cache', 'log', 'run']) mkdirSync(join(base, name))
  writeFileSync(join(base, 'etc/libvirtd.conf'), `${LIBVIRTD_CONF.join('\n')}\n`)
  writeFileSync(join(base, 'etc/qemu.conf'), `${QEMU_CONF.join('\n')}\n`)
  const flags = ['--mount', '--propagation', 'slave', '--pid', '--fork', '--kill-child', '--mount-proc']
  const args = ['--pdeathsig', 'KILL', '--', '/usr/bin/unshare', ...flags, '/bin/bash', '-c', SCRIPT, 'libvirtd', base]
  const log = openSync(join(base, 'libvirtd.log'), 'w')
  const daemon = spawn('/usr/bin/setpriv', args, { stdio: ['ignore', log, log] })
  closeSync(log)
  const ended = new Promise<void>((resolve) => daemon.once('exit', () => resolve()))
  const uri = `qemu+unix:///system?socket=${join(base, 'run/libvirt-sock')}`
  const virsh = (...words: readonly string[]) =>
    execFileSync(VIRSH, ['-q', '-c', uri, ...words], { encoding: 'utf8', stdio: 'pipe', timeout: 60_000 })

  const room: LibvirtRoom = {
    base,
    uri,
    virsh,
    define(name, disks, machine = {}) {
      const path = join(base, 'domain.xml')
      writeFileSync(path, domainXml(name, disks, machine))
      const before = new Set(virsh('list', '--all', '--uuid').split('\n'))
      virsh('define', path)
      const uuid = virsh('list', '--all', '--uuid')
        .split('\n')
        .find((one) => !before.has(one))
      if (uuid === undefined) throw new Error(`${name} was not defined`)
      return uuid
    },
    disk(path) {
      // What is there keeps its inode, and what is on that.
      writeFileSync(path, bootDisk(), { flag: existsSync(path) ? 'r+' : 'w' })
      return path
    },
    ticks(disk) {
      const sector = Buffer.alloc(4)
      const fd = openSync(disk, 'r')
      try {
        readSync(fd, sector, 0, 4, SECTOR)
      } finally {
        closeSync(fd)
      }
      return sector.readUInt32LE()
    },
    remove(uuid) {
      spawnSync(VIRSH, ['-q', '-c', uri, 'destroy', '--domain', uuid], { stdio: 'ignore', timeout: 60_000 })
      virsh('undefine', '--domain', uuid, '--managed-save')
    },
    async [Symbol.asyncDispose]() {
      daemon.kill('SIGKILL') // its process tree goes with it
      await ended
      rmSync(base, { recursive: true, force: true })
    },
  }
  try {
    await until('libvirtd answers', () => daemon.exitCode === null && virsh('version') !== '', 60_000)
    return room
  } catch (thrown) {
    await room[Symbol.asyncDispose]()
    throw thrown
  }
}

function domainXml(name: string, disks: readonly string[], machine: Machine): string {
  const { devices = '', kernel, initrd, memoryMib = 2 } = machine
  const shown = disks.map(
    (path, n) => `<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='${path}'/>
      <target dev='vd${'abcdef'[n]}' bus='virtio'/></disk>`,
  )
  const boot =
    kernel === undefined
      ? `<boot dev='hd'/>`
      : `<kernel>${kernel}</kernel><initrd>${initrd}</initrd><cmdline>console=ttyS0 quiet panic=1 mitigations=off</cmdline>`
  return `<domain type='qemu'><name>${name.replaceAll('&', '&amp;').replaceAll('<', '&lt;')}</name>
    <memory unit='MiB'>${memoryMib}</memory><vcpu>1</vcpu>
    <os><type arch='x86_64' machine='pc'>hvm</type>${boot}</os><features><acpi/></features>
    <devices><emulator>${EMULATOR}</emulator>${shown.join('')}${devices}
    <controller type='usb' model='none'/><memballoon model='none'/></devices></domain>`
}

/** A room where a domain can be run, found by trying; else why none can. */
export async function findLibvirtRoom(): Promise<
  { readonly room: LibvirtRoom; readonly lacks: undefined } | { readonly room: undefined; readonly lacks: string }
> {
  const lacking = (lacks: string) => ({ room: undefined, lacks })
  if (process.geteuid?.() !== 0) return lacking('libvirt needs root')
  const missing = [LIBVIRTD, VIRSH, EMULATOR].filter((file) => !existsSync(file))
  if (missing.length > 0) return lacking(`${missing.join(', ')} not installed`)
  let room: LibvirtRoom | undefined
  try {
    room = await openLibvirtRoom()
    const uuid = room.define('probe', [room.disk(join(room.base, 'probe.raw'))])
    room.virsh('start', '--domain', uuid)
    room.remove(uuid)
    return { room, lacks: undefined }
  } catch {
    await room?.[Symbol.asyncDispose]()
    return lacking('this machine runs no domain of libvirt')
  }
}

import { checkHostPath } from '../instance-name.ts'
import type { CreateRequest, MountChoice } from '../instances.ts'
import { type ConfigLine, escapeField, isHostMount, parseConfig, parseMountEntry, rootfsOf } from './lxc-config.ts'

export interface RenameRequest extends Omit<CreateRequest, 'config'> {
  /** Texts of the files of the configuration. */
  readonly config: string
  readonly fstab: string
  /** Sources of mounts that are files, not directories. */
  readonly files: ReadonlySet<string>
  /** A MAC that nobody has. */
  readonly newMac: () => string
}

export interface RenamedConfig {
  readonly config: string
  readonly dropped: readonly string[]
}

/** What names one container on its host or in its network: two that run cannot share it. */
const IDENTITY =
  /^lxc\.(net\.\d+\.(veth\.pair|ipv[46]\.(address|gateway))|cgroup\.dir(\..+)?|log\.file|console\.(path|logfile))$/
/** Ours to say. */
const REPLACED = /^lxc\.(rootfs\.path|mount\.fstab)$/

/**
 * What a configuration that others may have written can say: nothing that names a program or a file of the host, a device, or another
 * container. Keys are those of lxc.container.conf(5) 5.0; what LXC may learn later is dropped until it is listed.
 */
const HARMLESS = [
  /^lxc\.(arch|uts\.name|ephemeral|autodev|autodev\.tmpfs\.size|group|environment|no_new_privs|pty\.max|tty\.(max|dir))$/,
  /^lxc\.net\.\d+\.(type|link|flags|name|mtu|hwaddr|l2proxy|ipv[46]\.(address|gateway)|veth\.(mode|pair)|vlan\.id)$/,
  /^lxc\.net\.\d+\.(veth\.vlan\.(id|tagged\.id)|macvlan\.mode|ipvlan\.(mode|isolation))$/,
  /^lxc\.(rootfs\.options|mount\.(auto|entry)|cap\.(drop|keep)|idmap|prlimit\.\w+)$/,
  /^lxc\.sysctl\.(net\.[\w.-]+|fs\.mqueue\.\w+|kernel\.(shm\w+|msg\w+|sem))$/,
  /^lxc\.(apparmor\.(profile|allow_nesting|allow_incomplete)|selinux\.context(\.keyring)?|keyring\.session)$/,
  /^lxc\.cgroup2?\.(memory|cpu|cpuset|cpuacct|pids|io|blkio|hugetlb)\..+$/,
  /^lxc\.(init\.(cmd|cwd|uid|gid|groups)|execute\.cmd|signal\.(halt|reboot|stop)|start\.(auto|delay|order))$/,
  /^lxc\.console\.(buffer\.size|size|rotate)$/,
]
/** As a whole line: it takes a protection away. */
const LOOSENS = /^lxc\.apparmor\.profile\s*=\s*unconfined$/
/** Files that the package of LXC brings. */
const PACKAGED = /^\/usr\/share\/(lxc\/(config|selinux)|lxcfs)\/[\w.-]+$/
const NAMES_PACKAGED_FILE = /^lxc\.(include|seccomp\.profile)$/
/** In entries that others wrote: file systems that hold nothing of the host. */
const OWN_FILE_SYSTEM = /^(proc|sysfs|tmpfs|devpts|mqueue|cgroup2?|ramfs)$/

/** A configuration for a container of another name, root and mounts. Comments are kept. */
export function renameConfig(request: RenameRequest): RenamedConfig {
  const lines = parseConfig(request.config)
  const rootfs = rootfsOf(lines, '')
  const dropped = new Set<string>()
  const kept: string[] = []
  const keepAside = ({ text }: ConfigLine) => {
    if (request.trusted || /^\s*(#.*)?$/.test(text)) kept.push(text)
    else dropped.add('a line that is none')
  }
  for (const line of lines) {
    if (line.key === '') keepAside(line)
    else if (REPLACED.test(line.key) || line.key === 'lxc.mount.entry') continue
    else if (!isAllowed(line, request)) dropped.add(line.key)
    else kept.push(renamed(line, request))
  }
  const entries = [
    ...request.fstab.split('\n'),
    ...lines.filter(({ key }) => key === 'lxc.mount.entry').map(({ value }) => value),
  ]
  for (const text of entries) {
    const entry = parseMountEntry(text, rootfs)
    if (entry === undefined) continue
    if (isHostMount(entry)) {
      if (!request.mounts.some(({ destination }) => destination === entry.destination)) dropped.add(entry.destination)
    } else if (request.trusted || OWN_FILE_SYSTEM.test(entry.fields[2] ?? '')) {
      const [source = '', , ...rest] = entry.fields
      kept.push(`lxc.mount.entry = ${[source, escapeField(relative(entry.destination)), ...rest].join(' ')}`)
    } else dropped.add(entry.destination)
  }
  kept.push(
    ...request.mounts.map((mount) => mountLine(mount, request.files)),
    `lxc.rootfs.path = dir:${request.rootfs}`,
  )
  return { config: `${kept.join('\n').trim()}\n`, dropped: [...dropped] }
}

function isAllowed({ key, value }: ConfigLine, { identity, trusted }: RenameRequest): boolean {
  if (identity === 'new' && IDENTITY.test(key)) return false
  if (trusted) return true
  // An empty value takes back what an included file has set, the capabilities that it drops among them.
  if (value === '' || LOOSENS.test(`${key}=${value}`)) return false
  if (NAMES_PACKAGED_FILE.test(key)) return PACKAGED.test(value)
  return HARMLESS.some((pattern) => pattern.test(key))
}

function renamed({ key, text }: ConfigLine, { identity, name, newMac }: RenameRequest): string {
  if (identity === 'keep') return text
  if (key === 'lxc.uts.name') return `${key} = ${name}`
  return /^lxc\.net\.\d+\.hwaddr$/.test(key) ? `${key} = ${newMac()}` : text
}

function mountLine({ destination, source, readonly }: MountChoice, files: ReadonlySet<string>): string {
  if (!('path' in source)) throw new TypeError('LXC has no volumes') // the driver has refused them
  checkHostPath(source.path)
  checkHostPath(destination)
  const options = ['rbind', files.has(source.path) ? 'create=file' : 'create=dir', ...(readonly ? ['ro'] : [])].join(
    ',',
  )
  return `lxc.mount.entry = ${escapeField(source.path)} ${escapeField(relative(destination))} none ${options} 0 0`
}

/** Destinations are relative to the root: one that is absolute would be a place of the host. */
function relative(destination: string): string {
  return destination.slice(1)
}

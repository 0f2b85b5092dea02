import { SaxesParser } from 'saxes'
import { FleetError } from '../../../shared/errors.ts'

const MAX_DEPTH = 32
const MAX_TEXT = 65_536
const AGENT_CHANNEL = 'org.qemu.guest_agent.0'
/** What is put in and taken out is nobody's data. */
const REMOVABLE: ReadonlySet<string> = new Set(['cdrom', 'floppy'])
const DISK = 'domain/devices/disk'

export interface DomainDisk {
  /** What the domain sees it as: `vda`; with `#1` the image below it, that it only holds the changes of, and so on. */
  readonly target: string
  /** Of a file or device the absolute path; else what libvirt's words for it make. */
  readonly source: string
  /** Whether `source` is a path of this host. */
  readonly isLocal: boolean
  /** The target's name, where it is one of iSCSI. */
  readonly wwn: string | undefined
  readonly readonly: boolean
}

export interface DomainXml {
  readonly name: string
  readonly disks: readonly DomainDisk[]
  /** An agent in the domain listens. */
  readonly hasAgent: boolean
}

type Attributes = Readonly<Record<string, string>>

/** One `<disk>` while it is read. */
interface OpenDisk {
  device: string
  target: string
  readonly: boolean
  /** Its own, then those of its backing images. */
  readonly sources: Pick<DomainDisk, 'source' | 'isLocal' | 'wwn'>[]
}

/**
 * What `virsh dumpxml` says of a domain (libvirt 9.0, docs/formatdomain). No document type is accepted.
 * @throws FleetError `internal` for anything but well-formed XML of a domain
 */
export function readDomainXml(xml: string): DomainXml {
  const parser = new SaxesParser({ position: false })
  const path: string[] = []
  const disks: DomainDisk[] = []
  let open: OpenDisk | undefined
  let name = ''
  let hasAgent = false
  parser.on('error', (cause) => {
    throw unreadable(cause)
  })
  parser.on('doctype', () => {
    throw unreadable()
  })
  parser.on('opentag', (element) => {
    const tag = element.name
    // as: texts, as no names of namespaces are asked for
    const attributes = element.attributes as Attributes
    if (path.length === MAX_DEPTH) throw unreadable()
    path.push(tag)
    const at = path.join('/')
    if (at === DISK) open = { device: attributes.device ?? 'disk', target: '', readonly: false, sources: [] }
    if (open !== undefined) takeDisk(open, at, attributes)
    if (at === 'domain/devices/channel/target' && attributes.name === AGENT_CHANNEL)
      hasAgent ||= attributes.state === 'connected'
  })
  parser.on('text', (text) => {
    if (path.length === 2 && path[1] === 'name') name += text
    if (name.length > MAX_TEXT) throw unreadable()
  })
  parser.on('closetag', () => {
    if (open !== undefined && path.join('/') === DISK) {
      disks.push(...disksOf(open))
      open = undefined
    }
    path.pop()
  })
  parser.write(xml).close()
  if (name === '') throw unreadable()
  return { name, disks, hasAgent }
}

function takeDisk(disk: OpenDisk, at: string, attributes: Attributes): void {
  const inside = at.slice(DISK.length + 1)
  if (inside === 'target') disk.target = attributes.dev ?? ''
  if (inside === 'readonly') disk.readonly = true
  if (/^(backingStore\/)*source$/.test(inside)) {
    const source = sourceOf(attributes)
    if (source !== undefined) disk.sources.push(source)
  }
}

function disksOf({ device, target, readonly, sources }: OpenDisk): readonly DomainDisk[] {
  if (REMOVABLE.has(device) || target === '') return []
  return sources.map((source, depth) => ({
    ...source,
    target: depth === 0 ? target : `${target}#${depth}`,
    readonly: readonly || depth > 0,
  }))
}

function sourceOf({
  file,
  dev,
  dir,
  protocol,
  name = '',
  pool,
  volume,
}: Attributes): OpenDisk['sources'][number] | undefined {
  const path = file ?? dev ?? dir
  if (path !== undefined) return { source: path, isLocal: path.startsWith('/'), wwn: undefined }
  // `iqn.…/1`: the target's name and the number of its LUN.
  if (protocol !== undefined) {
    const wwn = protocol === 'iscsi' ? name.replace(/\/\d+$/, '').toLowerCase() : undefined
    return { source: `${protocol}:${name}`, isLocal: false, wwn }
  }
  return pool === undefined ? undefined : { source: `pool:${pool}/${volume ?? ''}`, isLocal: false, wwn: undefined }
}

function unreadable(cause?: unknown): FleetError {
  return new FleetError(
    'internal',
    'libvirt tells of a domain what cannot be read',
    cause === undefined ? {} : { cause },
  )
}

import { createHash, hash } from 'node:crypto'
import { z } from 'zod'
import { TargetPath } from '../../shared/point-spec.ts'
import { checkRequest } from './check-request.ts'
import type { PointSeries } from './orders.ts'
import type { PointSource } from './points.ts'

/** Of a directory's name; what is longer is cut and told apart by a hash. */
const NAME_MAX = 150
const SLUG_MAX = 60

/**
 * Where the points of one source lie: `<path>/dataset-backup@<name>`, or `<path>/path-backup@<slug>-<hash>`, `<path>/lxc-backup@<slug>-<hash>`
 * and `<path>/volume-backup@<slug>-<hash>` with a hash of the host and what it is there, since hosts that share a target may have directories
 * and instances of one name; or in `<path>/<directory>`.
 * @param path below the target's base. @throws invalid when it is too long together.
 */
export function seriesOf(of: {
  readonly groupId: string
  readonly targetId: string | null
  readonly host: { readonly id: string; readonly name: string }
  readonly source: PointSource
  readonly path: string
  readonly directory?: string | undefined
}): PointSeries {
  const name = of.directory ?? directoryName(of.source, of.host.name)
  const directory = of.path === '' ? name : `${of.path}/${name}`
  checkRequest(WholePath, { path: directory })
  const { groupId, targetId, host } = of
  return { id: uuidOf([groupId, targetId ?? host.id, directory]), targetId, hostId: host.id, directory }
}

/** Of the points of a schedule. */
export function backupDirectory(name: string): string {
  return `container-backup@${name}`
}

const WholePath = z.object({ path: TargetPath })

function directoryName(source: PointSource, host: string): string {
  if (source.kind === 'dataset') {
    const { name } = source
    return `dataset-backup@${name.length <= NAME_MAX ? name : `${name.slice(0, NAME_MAX)}-${shortHash(name)}`}`
  }
  const [kind, text] = calledOf(source)
  const slug = text
    .replaceAll(/[^A-Za-z0-9._-]+/g, '-')
    .slice(0, SLUG_MAX)
    .replaceAll(/^[-.]+|[-.]+$/g, '')
  return `${kind}-backup@${slug || 'root'}-${shortHash(`${host}:${kind === 'path' ? '' : `${kind}:`}${text}`)}`
}

function calledOf(source: Exclude<PointSource, { kind: 'dataset' }>): readonly [string, string] {
  if (source.kind === 'path') return ['path', source.path]
  return [source.kind === 'volume' ? 'volume' : source.type, source.name]
}

function shortHash(text: string): string {
  return hash('sha256', text, 'hex').slice(0, 8)
}

/** The same for the same parts, whoever asks: of version 8, which is what a hash of one's own makes (RFC 9562). */
export function uuidOf(parts: readonly string[]): string {
  const bytes = createHash('sha256').update(JSON.stringify(parts)).digest().subarray(0, 16)
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6)
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8)
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

/** The UTC second of the order, or the one after the newest point of the series: names only grow. */
export function nextPointName(nowMs: number, newest: string | undefined): string {
  const name = nameAt(nowMs)
  return newest === undefined || newest < name ? name : nameAt(timeOf(newest) + 1000)
}

/** What a point of that second is called. */
export function nameAt(ms: number): string {
  return new Date(ms).toISOString().replaceAll(/[-:]|\.\d{3}/g, '')
}

function timeOf(name: string): number {
  return Date.parse(name.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'))
}

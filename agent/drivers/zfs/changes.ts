import { Buffer } from 'node:buffer'
import { lstat } from 'node:fs/promises'
import type { Run } from '../../exec/run.ts'
import { findZfs, type Zfs } from '../../zfs/zfs.ts'
import type { Change, ChangeList } from '../driver.ts'
import { datasetNotFound } from '../pool-layout.ts'
import { type Datasets, ownSnapshot } from './datasets.ts'
import { DiffLines } from './diff-lines.ts'

const TIMEOUT_MS = 600_000
const IMAGE = 'holdfast:image'
const COLUMNS = ['name', 'origin', IMAGE] as const

interface Request {
  readonly zfs: Zfs
  readonly exec: Run
  readonly datasets: Datasets
  readonly base: string
  readonly image: string
}

/**
 * By `zfs diff` between the snapshots that two read-only images were cloned from. It names one name of a file that has several: where
 * such a file changed, no list is better than half a list.
 */
export async function changesBetween(request: Request, signal: AbortSignal): Promise<ChangeList | undefined> {
  const { zfs, exec, datasets, base, image } = request
  const names = [datasets.name(base), datasets.name(image)] as const
  const types = ['filesystem'] as const
  const rows = await zfs.list({ columns: COLUMNS, types, names, depth: 0 }, signal)
  const byName = new Map(rows.map((row) => [row.name, row]))
  const [baseRow, imageRow] = names.map((name) => byName.get(name))
  if (imageRow === undefined) throw datasetNotFound(image)
  if (baseRow === undefined || [baseRow, imageRow].some((row) => row[IMAGE] !== 'readonly')) return undefined
  const from = snapshotOf(baseRow, base)
  const to = snapshotOf(imageRow, image)
  const owner = from.slice(0, from.indexOf('@'))
  if (!to.startsWith(`${owner}@`)) return undefined
  const lines = new DiffLines()
  const options = { signal, timeoutMs: TIMEOUT_MS, onOutput: (chunk: Buffer) => lines.push(chunk) }
  const { exitCode } = await exec(findZfs() ?? '', ['diff', '-H', '-F', from, to], options)
  // Destroyed meanwhile, not mounted, not permitted: whoever asks walks the tree.
  if (exitCode !== 0) return undefined
  const mounted = await datasets.find(owner.slice(datasets.home.length + 1), signal)
  const list = mounted && lines.finish(mounted.mountpoint)
  const shown = await datasets.find(image, signal)
  if (list === undefined || shown === undefined) return undefined
  for (const change of list) {
    if (await hasSeveralNames(shown.mountpoint, change)) return undefined
  }
  return list
}

/** After its source was destroyed, an image has the snapshot itself. */
function snapshotOf({ name, origin }: { readonly name: string; readonly origin: string }, image: string): string {
  return origin.endsWith(`@${ownSnapshot(image)}`) ? origin : `${name}@${ownSnapshot(image)}`
}

async function hasSeveralNames(root: string, { path }: Change): Promise<boolean> {
  const status = await lstat(Buffer.from(`${Buffer.from(root).toString('latin1')}/${path}`, 'latin1')).catch(
    () => undefined,
  )
  return status !== undefined && !status.isDirectory() && status.nlink > 1
}

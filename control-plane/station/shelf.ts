import { createHash } from 'node:crypto'
import { open, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Bytes } from '../../shared/age-stream.ts'
import { FleetError } from '../../shared/errors.ts'

const MODE = 0o600
const PARTIAL = '.partial'
/** Nobody writes to it any more. */
const STALE_MS = 3_600_000
const NAME = /^station-([0-9a-f]{8})-(\d{8}T\d{6}Z)(-[0-9a-f]{4})?\.tar\.zst(\.age)?$/

export interface Shelved {
  readonly path: string
  readonly storedBytes: number
  readonly sha256: string
}

/** `station-1a2b3c4d-20260102T030405Z-5e6f.tar.zst.age`: whose, when, which. By their names they stand in the order of their time. */
export function nameOf(of: {
  readonly station: string
  readonly id: string
  readonly at: Date
  readonly encrypted: boolean
}): string {
  const at = of.at.toISOString().replaceAll(/[-:]|\.\d+/g, '')
  return `station-${of.station.slice(0, 8)}-${at}-${of.id.slice(-4)}.tar.zst${of.encrypted ? '.age' : ''}`
}

/**
 * Writes a file that has its name only when it is whole and on disk. What fails leaves nothing.
 * @throws refused, no_space, not_found: what the directory tells; what `bytes` throws.
 */
export async function shelve(directory: string, name: string, bytes: Bytes): Promise<Shelved> {
  const path = join(directory, name)
  const partial = `${path}${PARTIAL}`
  const hash = createHash('sha256')
  let storedBytes = 0
  try {
    await using file = await open(partial, 'wx', MODE)
    for await (const piece of bytes) {
      hash.update(piece)
      storedBytes += piece.length
      await file.writeFile(piece)
    }
    await file.sync()
  } catch (error) {
    await rm(partial, { force: true }).catch(() => undefined)
    throw asTold(error, directory)
  }
  await rename(partial, path)
  await syncDirectory(directory)
  return { path, storedBytes, sha256: hash.digest('hex') }
}

async function syncDirectory(path: string): Promise<void> {
  await using folder = await open(path, 'r')
  await folder.sync()
}

const CODES: Readonly<Record<string, 'no_space' | 'refused' | 'not_found' | 'exists'>> = {
  ENOSPC: 'no_space',
  EDQUOT: 'no_space',
  EACCES: 'refused',
  EPERM: 'refused',
  EROFS: 'refused',
  ENOENT: 'not_found',
  ENOTDIR: 'not_found',
  EEXIST: 'exists',
}

const WHY: Readonly<Record<string, string>> = {
  no_space: 'is full',
  refused: 'may not be written to',
  not_found: 'is not there',
  exists: 'has a file of this name already',
}

function asTold(error: unknown, directory: string): unknown {
  const code = CODES[error instanceof Error && 'code' in error ? String(error.code) : '']
  return code === undefined ? error : new FleetError(code, `the directory ${directory} ${WHY[code]}`, { cause: error })
}

/** Whole ones, newest first. @param station of which; undefined: of any. @throws not_found, refused. */
export async function shelved(directory: string, station?: string): Promise<readonly string[]> {
  const names = await readdir(directory).catch((error: unknown) => {
    throw asTold(error, directory)
  })
  const timeOf = (name: string) => NAME.exec(name)?.[2] ?? ''
  return names
    .filter((name) => isOf(name, station))
    .toSorted((a, b) => (timeOf(a) < timeOf(b) ? 1 : timeOf(a) > timeOf(b) ? -1 : a < b ? 1 : -1))
}

function isOf(name: string, station: string | undefined): boolean {
  const of = NAME.exec(name)?.[1]
  return of !== undefined && (station === undefined || of === station.slice(0, 8))
}

/**
 * After a good one: all but the newest `keep` go, and what a run that died has left. The one that was just made stays whatever the
 * clock says.
 * @returns paths that are gone
 */
export async function evict(
  directory: string,
  which: { readonly station: string; readonly keep: number; readonly made: string },
): Promise<readonly string[]> {
  const whole = (await shelved(directory, which.station)).map((name) => join(directory, name))
  const others = whole.filter((path) => path !== which.made)
  const gone = others.slice(Math.max(0, which.keep - 1))
  for (const path of gone) await rm(path, { force: true })
  for (const name of await readdir(directory)) {
    const path = join(directory, name)
    if (name.endsWith(PARTIAL) && isOf(name.slice(0, -PARTIAL.length), which.station) && (await isStale(path)))
      await rm(path, { force: true })
  }
  return gone
}

async function isStale(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined)
  return found !== undefined && Date.now() - found.mtimeMs > STALE_MS
}

/** The file itself, or of a directory the newest whole one. @throws not_found. */
export async function findBackup(path: string): Promise<string> {
  const found = await stat(path).catch(() => undefined)
  if (found === undefined) throw new FleetError('not_found', `there is no ${path}`)
  if (!found.isDirectory()) return path
  const [newest] = await shelved(path)
  if (newest === undefined) throw new FleetError('not_found', `no backup of a station is in ${path}`)
  return join(path, newest)
}

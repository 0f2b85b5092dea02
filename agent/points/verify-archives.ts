import { createHash } from 'node:crypto'
import { FleetError } from '../../shared/errors.ts'
import type { PointRef } from '../../shared/point-spec.ts'
import { AGE_SUFFIX } from '../archive/age/encrypted-sink.ts'
import { displayPath } from '../archive/byte-path.ts'
import { DATA, SUMS } from '../archive/frame-table.ts'
import { Point } from '../archive/point.ts'
import { verify } from '../archive/verify.ts'
import type { ArchiveWatch } from '../archive/write-archive.ts'
import { release } from '../native/release.ts'
import type { Target } from '../transfer/transfer.ts'
import { filesOf } from './open-chain.ts'
import type { PointTools, TargetLease } from './point-tools.ts'
import { Rated } from './rate.ts'
import { directoryOf, sumsAt } from './series.ts'
import { noneIfCorrupt, readMetadata, sha256 } from './series-metadata.ts'

export interface VerifyRequest {
  readonly lease: TargetLease
  readonly series: string
  readonly refs: readonly PointRef[]
  readonly tools: Pick<PointTools, 'scratch' | 'indexes'>
}

export interface VerifiedArchives {
  readonly files: number
  readonly bytes: number
  /** Members of the archives, or files of a point as `<point>/<file>`, for people. */
  readonly damaged: readonly string[]
  readonly damagedCount: number
  /** Ids of the points whose archives they are. */
  readonly damagedPoints: readonly string[]
}

const MAX_TOLD = 100
const SUMS_LINE = /^([0-9a-f]{64}) [ *]([^/\n]+)$/

/** Reads every file of every archive. What the target cannot tell now is no damage: @throws unavailable and what else it tells */
export async function verifyArchives(request: VerifyRequest, watch: ArchiveWatch): Promise<VerifiedArchives> {
  let [files, bytes, damagedCount] = [0, 0, 0]
  const damaged: string[] = []
  const damagedPoints: string[] = []
  using rated = new Rated(watch.progress)
  for (const ref of request.refs) {
    const counted = {
      signal: watch.signal,
      progress: (now: Parameters<typeof rated.progress>[0]) =>
        rated.progress({ ...now, files: files + (now.files ?? 0), bytes: bytes + (now.bytes ?? 0) }),
    }
    const found = await verifyOne(ref, request, counted)
    files += found.files
    bytes += found.bytes
    damagedCount += found.damagedCount
    damaged.push(...found.damaged.slice(0, MAX_TOLD - damaged.length))
    if (found.damagedCount > 0) damagedPoints.push(ref.id)
  }
  return { files, bytes, damaged, damagedCount, damagedPoints }
}

async function verifyOne(
  ref: PointRef,
  request: VerifyRequest,
  watch: ArchiveWatch,
): Promise<Omit<VerifiedArchives, 'damagedPoints'>> {
  const looked = await lookAtFiles(ref, request, watch)
  const told = looked.broken.map((name) => `${ref.name}/${name}`)
  if (looked.isSealed) return { files: looked.files, bytes: looked.bytes, damaged: told, damagedCount: told.length }
  try {
    const { lease, series, tools } = request
    const source = filesOf(ref, { lease, series, refs: [ref], indexOnly: false }, tools)
    await using point = await Point.open(source, watch.signal)
    const found = await verify({ subject: 'verify', point, scratch: tools.scratch }, watch)
    if (!found.isWhole) told.push(`${ref.name}/${DATA[point.table.totals.compression]}`)
    return {
      files: found.files,
      bytes: found.bytes,
      damaged: [...told, ...found.damaged.map(displayPath)],
      damagedCount: told.length + found.damagedCount,
    }
  } catch (error) {
    if (!isDamage(error)) throw error
    const damaged = told.length > 0 ? told : [ref.name]
    return { files: 0, bytes: 0, damaged, damagedCount: damaged.length }
  }
}

function isDamage(error: unknown): boolean {
  return error instanceof FleetError && ['corrupt', 'not_found', 'invalid', 'too_large'].includes(error.code)
}

interface Looked {
  /** Names of files that are missing or not what `sums` says. */
  readonly broken: readonly string[]
  /** Encrypted, and without an identity: all its files were read as they lie there. */
  readonly isSealed: boolean
  readonly files: number
  readonly bytes: number
}

/** Compares the point's files with its `sums`; data that can be read are checked by their frames and members instead. */
async function lookAtFiles(ref: PointRef, request: VerifyRequest, watch: ArchiveWatch): Promise<Looked> {
  const { lease, series } = request
  const { target } = lease
  const directory = directoryOf({ series, name: ref.name })
  const sums = await sumsAt(target, directory, watch.signal).catch(noneIfCorrupt)
  const listed = sums === undefined ? undefined : parseSums(sums)
  if (sums === undefined || listed === undefined || !(await isRecorded(ref, request, sums, watch.signal)))
    return { broken: [SUMS], isSealed: false, files: 0, bytes: 0 }
  const isSealed = lease.identities.length === 0 && listed.some(({ name }) => name.endsWith(AGE_SUFFIX))
  const broken: string[] = []
  let bytes = 0
  for (const { name, hash } of listed) {
    const path = `${directory}/${name}`
    if (name.startsWith('data.') && !isSealed) {
      if ((await target.stat(path, watch)) === undefined) broken.push(name)
      continue
    }
    const found = await hashOf(target, path, watch.signal)
    bytes += found?.bytes ?? 0
    if (found?.hash !== hash) broken.push(name)
    watch.progress({ phase: 'verify', bytes })
  }
  return { broken, isSealed, files: listed.length, bytes }
}

/** Whoever changes a file and its sum has not changed what was told of the sums, nor what the series' metadata say of them. */
async function isRecorded(
  ref: PointRef,
  { lease, series }: VerifyRequest,
  sums: string,
  signal: AbortSignal,
): Promise<boolean> {
  if (ref.sumsSha256 !== undefined && ref.sumsSha256 !== sha256(sums)) return false
  const recorded = (await readMetadata(lease.target, series, signal)).find(({ name }) => name === ref.name)?.sumsSha256
  return recorded === undefined || recorded === sha256(sums)
}

function parseSums(sums: string): readonly { readonly name: string; readonly hash: string }[] | undefined {
  const listed: { name: string; hash: string }[] = []
  for (const line of sums.split('\n')) {
    if (line === '') continue
    const [, hash, name] = SUMS_LINE.exec(line) ?? []
    if (hash === undefined || name === undefined) return undefined
    listed.push({ name, hash })
  }
  return listed.length === 0 ? undefined : listed
}

/** @returns undefined where it is absent or cannot be read from its disk */
async function hashOf(
  target: Target,
  path: string,
  signal: AbortSignal,
): Promise<{ readonly hash: string; readonly bytes: number } | undefined> {
  try {
    await using source = await target.get(path, { signal })
    const hash = createHash('sha256')
    for await (const piece of source.stream(0, source.sizeBytes, signal)) {
      hash.update(piece)
      release(piece)
    }
    return { hash: hash.digest('hex'), bytes: source.sizeBytes }
  } catch (error) {
    if (error instanceof FleetError && error.code === 'not_found') return undefined
    return noneIfCorrupt(error)
  }
}

import { FleetError } from '../../../shared/errors.ts'
import type { PointProblem } from '../../../shared/point-spec.ts'
import { decryptedFiles } from '../../archive/age/decrypted-files.ts'
import { encryptedSink } from '../../archive/age/encrypted-sink.ts'
import { keepingIndex } from '../../archive/age/kept-index.ts'
import { displayPath } from '../../archive/byte-path.ts'
import { Chain } from '../../archive/chain.ts'
import type { Compression } from '../../archive/compression.ts'
import { consolidate } from '../../archive/consolidate.ts'
import { chunkNumbers } from '../../archive/image/chunk-members.ts'
import { placeOf } from '../../archive/image/image-bytes.ts'
import { chunkBytesFor } from '../../archive/image/image-shape.ts'
import { readShape } from '../../archive/image/read-shape.ts'
import type { Problem } from '../../archive/member.ts'
import { Point } from '../../archive/point.ts'
import type { ArchiveSink } from '../../archive/sink.ts'
import {
  type ArchiveBase,
  type ArchiveWatch,
  type ImageSource,
  type WriteImageRequest,
  type WriteRequest,
  type WrittenArchive,
  writeArchive,
} from '../../archive/write-archive.ts'
import type { ChangeList } from '../../drivers/driver.ts'
import type { TargetLease } from '../../points/point-tools.ts'
import {
  claimDirectory,
  discardTree,
  discardUnfinished,
  incrementDirectoryOf,
  type OwnPlace,
  workingDirectoryOf,
} from '../../points/series.ts'
import { sha256 } from '../../points/series-metadata.ts'
import { TargetFiles } from '../../points/target-files.ts'
import { TargetSink } from '../../points/target-sink.ts'
import { alone, type Base } from './base.ts'
import type { Written } from './keep-clones.ts'
import type { PointReceipt } from './point-receipt.ts'
import type { DiskContent, PointSource, TreeContent } from './point-source.ts'

export interface WritePointRequest {
  readonly place: OwnPlace
  readonly base: Base
  readonly lease: TargetLease
  readonly content: TreeContent | DiskContent
  readonly compression: Compression
  /** Where there is a base: a full point is made of it and what changed. */
  readonly consolidate: boolean
  readonly recipients: readonly string[]
  /** Where a plain index of an encrypted point is kept on this host. */
  readonly keptIndex: string
  readonly scratch: string
  /** Of a source that lives while it is read. */
  readonly settledBeforeMs: number | undefined
  /** What differs from the tree of the last point of the base, where that is known. */
  readonly changes: ChangeList | undefined
  /** Where the tree lives, and was to stand still. */
  readonly instead: PointSource['instead']
  /** The tree that lives is left alone by now. */
  readonly onRead: () => void
  /** As `PointSource.wrote`. */
  readonly onWritten: (written: Written) => void
  /** Where the tree holds no more than those, or lives: gives all of it, should there be no base after all. */
  readonly whole: ((watch: ArchiveWatch) => Promise<Pick<TreeContent, 'rootFd' | 'stamps' | 'live'>>) | undefined
}

/**
 * Writes everything of the point into its working directory. Where what it completes turns out to be damaged, it becomes a full one
 * that says so.
 */
export async function writePoint(request: WritePointRequest, watch: ArchiveWatch): Promise<PointReceipt> {
  const { base, place } = request
  if (base.chain === undefined) return writeTree(request, watch)
  try {
    return await (request.consolidate ? writeMerged(request, base.chain, watch) : writeStill(request, watch))
  } catch (error) {
    if (!(error instanceof FleetError) || error.code !== 'corrupt') throw error
    await beginAgain(place, watch.signal)
    const whole = await request.whole?.(watch)
    request.onRead()
    const content = { ...request.content, ...whole, isPartial: false, untouchedSinceMs: undefined }
    return writeTree({ ...request, content, base: alone('the points that it was to complete are damaged') }, watch)
  }
}

/** What lives and did not stand still while it was read is read once more, of an image. */
async function writeStill(request: WritePointRequest, watch: ArchiveWatch): Promise<PointReceipt> {
  const { instead, onRead, place } = request
  const written = await writeTree(request, watch)
  if (instead === undefined || written.made.problemCount === 0) return written
  await beginAgain(place, watch.signal)
  const content = await instead(watch)
  onRead()
  return writeTree({ ...request, content, settledBeforeMs: undefined }, watch)
}

async function beginAgain(place: OwnPlace, signal: AbortSignal): Promise<void> {
  await discardUnfinished(place, signal)
  await claimDirectory(place, signal)
}

async function writeTree(request: WritePointRequest, watch: ArchiveWatch): Promise<PointReceipt> {
  const { base, place } = request
  const sink = new TargetSink({ target: place.target, directory: workingDirectoryOf(place) })
  const archive = await archiveOf(request, base.chain, wrapped(sink, request, true), watch.signal)
  const written = await writeArchive(archive, watch)
  const full = base.chain === undefined
  request.onWritten({ large: written.large, completes: !full })
  return receiptOf(request, { sums: sink.sums, written, full, synthetic: false })
}

/** An increment first, hidden; then one full archive out of it and the chain. */
async function writeMerged(request: WritePointRequest, base: Chain, watch: ArchiveWatch): Promise<PointReceipt> {
  const { place, lease } = request
  const { target } = place
  const directory = incrementDirectoryOf(place)
  const increment = new TargetSink({ target, directory })
  const sink = new TargetSink({ target, directory: workingDirectoryOf(place) })
  const archive = await archiveOf(request, base, wrapped(increment, request, false), watch.signal)
  const changed = await writeArchive(archive, watch)
  request.onWritten({ large: changed.large, completes: true })
  await using top = await Point.open(decryptedFiles(new TargetFiles(target, directory), lease.identities), watch.signal)
  const chain = Chain.of([...base.points, top])
  const written = await consolidate({ chain, sink: wrapped(sink, request, true), scratch: request.scratch }, watch)
  await discardTree(target, directory, watch.signal)
  const problems = { problems: changed.problems, problemCount: changed.totals.problems }
  return receiptOf(request, { sums: sink.sums, written, full: true, synthetic: true, ...problems })
}

async function archiveOf(
  request: WritePointRequest,
  chain: Chain | undefined,
  sink: ArchiveSink,
  signal: AbortSignal,
): Promise<WriteRequest | WriteImageRequest> {
  const { content, base, compression, scratch, settledBeforeMs } = request
  const common = { subject: 'backup', sink, compression, scratch }
  if (content.kind === 'disk') {
    const image = await imageOf(content, chain, signal)
    return { ...common, image, ...(chain === undefined ? {} : { base: { points: base.names, chain } }) }
  }
  const { rootFd, grafts, stamps, live, untouchedSinceMs, tellsLarge = false } = content
  return {
    ...common,
    rootFd,
    live,
    untouchedSinceMs,
    tellsLarge,
    onRead: (isWhole) => {
      if (isWhole) request.onRead()
    },
    ...(grafts === undefined ? {} : { grafts }),
    ...(stamps === undefined ? {} : { stamps }),
    ...(settledBeforeMs === undefined ? {} : { settledBeforeMs }),
    ...(chain === undefined ? {} : { base: baseOf(request, chain, signal) }),
  }
}

/** In the chunks of its chain; of those, the ones that may differ, where that is known and the last point lacks none. */
async function imageOf(content: DiskContent, chain: Chain | undefined, signal: AbortSignal): Promise<ImageSource> {
  const { sizeBytes } = content
  const place = placeOf(content)
  if (chain === undefined) return { ...place, sizeBytes, chunkBytes: chunkBytesFor(sizeBytes) }
  const shape = await readShape(chain, signal)
  const { chunkBytes } = shape
  const below = { sizeBytes: shape.sizeBytes, held: () => chunkNumbers(chain, shape, signal) }
  const isWhole = chain.points.at(-1)?.table.totals.problems === 0
  return {
    ...place,
    sizeBytes,
    chunkBytes,
    only: isWhole ? await content.changed(chunkBytes, below, signal) : undefined,
  }
}

function baseOf({ base, changes, content }: WritePointRequest, chain: Chain, signal: AbortSignal): ArchiveBase {
  const { isPartial = false, older } = content.kind === 'tree' ? content : {}
  const known = changes === undefined ? {} : { changes: { chain, list: changes, isAll: isPartial } }
  return { points: base.names, lines: chain.lines(signal), ...known, older }
}

function wrapped(sink: ArchiveSink, { recipients, keptIndex }: WritePointRequest, keepsIndex: boolean): ArchiveSink {
  if (recipients.length === 0) return sink
  const encrypted = encryptedSink(sink, recipients)
  return keepsIndex ? keepingIndex(encrypted, keptIndex) : encrypted
}

function receiptOf(
  { base, recipients }: WritePointRequest,
  what: {
    readonly sums: string
    readonly written: WrittenArchive
    readonly full: boolean
    readonly synthetic: boolean
    readonly problems?: readonly Problem[]
    readonly problemCount?: number
  },
): PointReceipt {
  const { written, full, synthetic, sums } = what
  const { totals, files } = written
  return {
    sums,
    finishedAt: new Date().toISOString(),
    made: {
      ...{ full, synthetic },
      fullReason: synthetic ? null : base.fullReason,
      members: totals.members,
      sourceBytes: totals.contentBytes,
      storedBytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
      consistency: 'fuzzy',
      encrypted: recipients.length > 0,
      sumsSha256: sha256(sums),
      problemCount: Math.max(totals.problems, what.problemCount ?? 0),
      problems: toldProblems(what.problems ?? written.problems),
    },
  }
}

const MAX_TOLD = 1_000
/** Of all their paths together: reports travel in messages of at most a MiB. */
const MAX_TOLD_BYTES = 2 ** 17

function toldProblems(problems: readonly Problem[]): PointProblem[] {
  const told: PointProblem[] = []
  let bytes = 0
  for (const { path, reason } of problems.slice(0, MAX_TOLD)) {
    const shown = displayPath(path)
    bytes += Buffer.byteLength(JSON.stringify(shown))
    if (bytes > MAX_TOLD_BYTES) break
    told.push({ path: shown, reason })
  }
  return told
}

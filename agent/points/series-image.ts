import { createHash } from 'node:crypto'
import { FleetError } from '../../shared/errors.ts'
import { AGE_SUFFIX, encryptedSink } from '../archive/age/encrypted-sink.ts'
import type { ArchiveSink, SinkFile } from '../archive/sink.ts'
import { BLOCK, FLAGS, HeaderEncoder, paddingOf } from '../archive/tar-header.ts'
import type { Stored } from '../transfer/transfer.ts'
import type { ImageRecord } from './image-record.ts'
import { directoryOf, isPoint, METADATA, type OwnPlace } from './series.ts'
import type { PointRecord } from './series-metadata.ts'

/** In the directory of a series: what it takes beside the data to make its source again, for people and other tools. No restore needs it. */
const IMAGE = 'image.tar'
const IMAGE_NAMES: readonly string[] = [IMAGE, `${IMAGE}${AGE_SUFFIX}`]

export interface ImageContent {
  /** By name in the tar. */
  readonly files: Readonly<Record<string, Buffer>>
  /** The image of an engine's container: a tar whose members follow. Its id is part of what `files` say. */
  readonly exported?: (signal: AbortSignal) => AsyncIterable<Buffer>
}

const END_OF_TAR = Buffer.alloc(2 * BLOCK)
const MODE = 0o600

interface PutRequest {
  readonly content: ImageContent
  readonly recipients: readonly string[]
  /** Of the points of the series, oldest first. */
  readonly known: readonly PointRecord[]
}

/**
 * The series has this image when it resolves; one that is there already is left as it is. Another one goes to the newest point that was
 * made with it. An engine that cannot give its image does not stop the backup: the configuration is stored without, and it is
 * asked again for the next point.
 * @throws what the target throws
 */
export async function putImage(place: OwnPlace, request: PutRequest, signal: AbortSignal): Promise<ImageRecord> {
  const wish = { ...request, key: keyOf(request), name: IMAGE_NAMES[request.recipients.length === 0 ? 0 : 1] ?? IMAGE }
  const newest = request.known.findLast(({ image }) => image !== undefined)
  if (newest?.image !== undefined && (await isStanding(place, { newest, image: newest.image, wish }, signal)))
    return newest.image
  try {
    return await upload(place, { ...wish, newest }, signal)
  } catch (error) {
    if (!(error instanceof ExportFailure)) throw error
    const { exported: _, ...content } = request.content
    return upload(place, { ...wish, content, key: `${wish.key} without its image`, newest }, signal)
  }
}

interface Wish extends PutRequest {
  readonly key: string
  readonly name: string
}

/** The engine's, not the target's. */
class ExportFailure extends Error {
  override readonly name = 'ExportFailure'
}

function keyOf({ content, recipients }: PutRequest): string {
  const hash = createHash('sha256').update(recipients.toSorted().join(' '))
  for (const [name, bytes] of Object.entries(content.files)) hash.update(`\0${name}\0${bytes.length}\0`).update(bytes)
  return hash.digest('hex')
}

/** Once the last of its points is gone; to be called behind the update of `backup-metadata`, which then is none either. */
export async function removeImageOfNone(
  { target, series }: Pick<OwnPlace, 'target' | 'series'>,
  signal: AbortSignal,
): Promise<void> {
  if ((await target.stat(`${series}/${METADATA}`, { signal })) !== undefined) return
  for (const name of IMAGE_NAMES) await target.remove(`${series}/${name}`, { signal })
}

/** A run that failed may have put another one in its place; then the point has its own beside it. */
async function isStanding(
  place: OwnPlace,
  { newest, image, wish }: { readonly newest: PointRecord; readonly image: ImageRecord; readonly wish: Wish },
  signal: AbortSignal,
): Promise<boolean> {
  if (image.key !== wish.key || image.name !== wish.name) return false
  const { target, series } = place
  const [standing, moved] = await Promise.all([
    target.stat(`${series}/${image.name}`, { signal }),
    target.stat(`${directoryOf({ series, name: newest.name })}/${image.name}`, { signal }),
  ])
  return standing?.sizeBytes === image.bytes && moved === undefined
}

async function upload(
  place: OwnPlace,
  { content, recipients, key, name, newest }: Wish & { readonly newest: PointRecord | undefined },
  signal: AbortSignal,
): Promise<ImageRecord> {
  const { target, series } = place
  const sink = await target.put(`${series}/${name}`, { signal, replace: true })
  let stored: Stored | undefined
  const file: SinkFile = {
    write: (chunk) => sink.write(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length)),
    close: async () => {
      if (newest?.image !== undefined) await moveOld(place, { name: newest.name, image: newest.image }, signal)
      stored = await sink.finish()
    },
  }
  const plain: ArchiveSink = { open: async () => file, commit: async () => undefined, abort: () => sink.abort() }
  try {
    const whole = recipients.length === 0 ? file : await encryptedSink(plain, recipients).open(IMAGE, signal)
    for await (const chunk of tarOf(content, signal)) await whole.write(chunk)
    await whole.close()
    if (stored === undefined) throw new FleetError('internal', 'the image was not stored')
    return { key, name, bytes: stored.sizeBytes, sha256: stored.sha256 }
  } finally {
    await sink.abort()
  }
}

async function moveOld(
  { target, series }: OwnPlace,
  { name, image }: { readonly name: string; readonly image: ImageRecord },
  signal: AbortSignal,
): Promise<void> {
  const [from, to] = [`${series}/${image.name}`, `${directoryOf({ series, name })}/${image.name}`]
  if (!(await isPoint({ target, series, name }, { signal }))) return
  if ((await target.stat(to, { signal })) !== undefined || (await target.stat(from, { signal })) === undefined) return
  await target.rename(from, to, { signal })
}

async function* tarOf({ files, exported }: ImageContent, signal: AbortSignal): AsyncGenerator<Buffer> {
  const encoder = new HeaderEncoder()
  const mtime = `${Math.floor(Date.now() / 1_000)}.000000000`
  const fixed = { mode: MODE, uid: 0, gid: 0, mtime, link: '', major: 0, minor: 0, records: [] }
  for (const [name, bytes] of Object.entries(files)) {
    yield Buffer.from(encoder.encode({ ...fixed, name, flag: FLAGS.file, size: bytes.length }))
    yield Buffer.concat([bytes, Buffer.alloc(paddingOf(bytes.length))])
  }
  if (exported === undefined) yield END_OF_TAR
  else yield* guarded(exported(signal), signal)
}

async function* guarded(source: AsyncIterable<Buffer>, signal: AbortSignal): AsyncGenerator<Buffer> {
  const chunks = source[Symbol.asyncIterator]()
  try {
    for (;;) {
      const next = await chunks.next().catch((cause: unknown) => {
        if (signal.aborted) throw cause
        throw new ExportFailure('the engine does not give its image', { cause })
      })
      if (next.done === true) return
      yield next.value
    }
  } finally {
    await chunks.return?.()
  }
}

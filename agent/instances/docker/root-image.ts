import { PassThrough } from 'node:stream'
import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { run } from '../../exec/run.ts'
import type { EngineClient } from './engine-client.ts'

const TAR = '/usr/bin/tar'
/** Reading a whole root in, or an image. */
export const LOAD_TIMEOUT_MS = 24 * 3_600_000
const CLEAN_UP_TIMEOUT_MS = 60_000

/** Of the names of images that are made here. */
const OWN_REPOS = 'localhost/holdfast/'
const Named = z.looseObject({ RepoTags: z.array(z.string()).nullish() })

/** Ids are with it or without. */
export function withoutAlgorithm(image: string): string {
  return image.replace(/^sha256:/, '')
}

/** What the image of a container's root is called. @param name of the container, which may hold what no image's name can */
export function rootImageOf(name: string): string {
  return `${OWN_REPOS}${name
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replace(/-$/, '')}`
}

/** Engines have no containers on plain directories: the root becomes an image of one layer. @returns its id */
export async function importRootfs(
  engine: EngineClient,
  { repo, rootfs }: { readonly repo: string; readonly rootfs: string },
  signal: AbortSignal,
): Promise<string> {
  const tar = new PassThrough()
  const query = { fromSrc: '-', repo }
  const imported = engine.stream({
    method: 'POST',
    path: '/images/create',
    query,
    body: tar,
    signal,
    timeoutMs: LOAD_TIMEOUT_MS,
  })
  const args = [
    '--create',
    '--numeric-owner',
    '--one-file-system',
    '--xattrs',
    '--format=posix',
    '--directory',
    rootfs,
    '.',
  ]
  const packing = run(TAR, args, { signal, timeoutMs: LOAD_TIMEOUT_MS, output: tar }).then(({ exitCode, stderr }) => {
    if (exitCode !== 0) throw new FleetError('internal', 'the root could not be read', { detail: stderr.slice(-2_000) })
  })
  packing.catch((thrown: unknown) => tar.destroy(thrown instanceof Error ? thrown : new Error(String(thrown))))
  const reading = lastLineOf(imported).then(imageIdIn)
  reading.catch(() => tar.destroy())
  const [packed, read] = await Promise.allSettled([packing, reading])
  if (packed.status === 'rejected' && read.status === 'fulfilled') await removeImage(engine, read.value)
  // What the reader says of a broken stream is what the packer broke it with.
  if (packed.status === 'rejected' && read.status === 'fulfilled') throw packed.reason
  if (read.status === 'rejected') throw read.reason
  return read.value
}

/** One JSON object a line; the last one tells the image, or what went wrong. */
async function lastLineOf(stream: AsyncIterable<Buffer>): Promise<string> {
  let text = ''
  for await (const chunk of stream) text = (text + chunk.toString()).slice(-MAX_LINE)
  return text.trim().split('\n').at(-1) ?? ''
}
const MAX_LINE = 65_536

function imageIdIn(line: string): string {
  const id = /"(?:status|id)":"(sha256:[0-9a-f]{64})"/.exec(line)?.[1]
  if (id === undefined) throw new FleetError('internal', 'the container engine did not take the root', { detail: line })
  return id
}

/** One that others use stays. */
export async function removeImage(engine: EngineClient, image: string): Promise<void> {
  const path = `/images/${encodeURIComponent(image)}`
  await engine.act({ method: 'DELETE', path, signal: cleanUpSignal() }).catch(() => undefined)
}

/** Labels are anybody's to set: an image goes only if it has a name that is given here alone. */
export async function removeOwnImage(engine: EngineClient, image: string): Promise<void> {
  const request = { method: 'GET', path: `/images/${encodeURIComponent(image)}/json`, signal: cleanUpSignal() } as const
  const named = await engine.json(request, Named).catch(() => undefined)
  if (named?.RepoTags?.some((name) => name.startsWith(OWN_REPOS))) await removeImage(engine, image)
}

/** Cleaning up must come to an end, whatever became of the job. */
export function cleanUpSignal(): AbortSignal {
  return AbortSignal.timeout(CLEAN_UP_TIMEOUT_MS)
}

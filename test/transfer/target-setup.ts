import { randomBytes } from 'node:crypto'
import type { TransferContext } from '../../agent/transfer/open-target.ts'
import type { RangeSource, Sink, Stored, Target } from '../../agent/transfer/transfer.ts'

const MIB = 2 ** 20

/** Targets on 127.0.0.1, little patience. */
export const context: TransferContext = {
  backupRoot: '/nonexistent',
  addresses: { allowLoopback: true, listeners: [], ownAddresses: () => [] },
  retries: { attempts: 4, baseMs: 50, maxMs: 400 },
  stallMs: 2_000,
}

export const watch = { signal: new AbortController().signal }

/** Bytes that do not compress and differ everywhere. */
export function noise(sizeBytes: number): Buffer {
  return randomBytes(sizeBytes)
}

/** Writes all of it in chunks that fit no boundary of any protocol. */
export async function writeAll(sink: Sink, bytes: Buffer, chunkBytes = 700_001): Promise<Stored> {
  for (let start = 0; start < bytes.length; start += chunkBytes)
    await sink.write(bytes.subarray(start, start + chunkBytes))
  return sink.finish()
}

export async function store(target: Target, path: string, bytes: Buffer): Promise<Stored> {
  return writeAll(await target.put(path, watch), bytes)
}

export async function load(target: Target, path: string): Promise<Buffer> {
  await using source: RangeSource = await target.get(path, watch)
  const chunks: Buffer[] = []
  for await (const chunk of source.stream(0, source.sizeBytes, watch.signal)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

export async function namesIn(target: Target, path = ''): Promise<readonly string[]> {
  const names: string[] = []
  let cursor: string | undefined
  do {
    const page = await target.list(path, { ...watch, cursor })
    names.push(...page.entries.map(({ name, kind }) => (kind === 'directory' ? `${name}/` : name)))
    cursor = page.cursor
  } while (cursor !== undefined)
  return names
}

/** Streams `mib` MiB without ever holding them. @returns the most this process grew meanwhile, in MiB */
export async function streamMany(target: Target, path: string, mib: number): Promise<number> {
  const chunk = noise(MIB)
  const before = process.memoryUsage.rss()
  let most = before
  const sink = await target.put(path, watch)
  for (let sent = 0; sent < mib; sent += 1) {
    await sink.write(Buffer.from(chunk))
    most = Math.max(most, process.memoryUsage.rss())
  }
  await sink.finish()
  return (Math.max(most, process.memoryUsage.rss()) - before) / MIB
}

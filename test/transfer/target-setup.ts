import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { TransferContext } from '../../agent/transfer/open-target.ts'
import type { RangeSource, Sink, Stored, Target } from '../../agent/transfer/transfer.ts'
import { AGENT } from '../../deploy/node-flags.ts'
import type { TargetConfig, TargetSecret } from '../../shared/target-config.ts'

/** Targets on 127.0.0.1, little patience. */
export const context: TransferContext = {
  backupRoot: '/nonexistent',
  addresses: { allowLoopback: true, listeners: [] },
  retries: { attempts: 4, baseMs: 50, maxMs: 400 },
  stallMs: 1_500,
}

export const watch = { signal: new AbortController().signal }

/** Bytes that do not compress and differ everywhere. */
export function noise(sizeBytes: number): Buffer {
  return randomBytes(sizeBytes)
}

/** Writes all of it in chunks that fit no boundary of any protocol. */
/** From memory that is written over once a write has settled. */
export async function writeAll(sink: Sink, bytes: Buffer, chunkBytes = 700_001): Promise<Stored> {
  const chunk = Buffer.allocUnsafeSlow(chunkBytes)
  for (let start = 0; start < bytes.length; start += chunkBytes) {
    const filledBytes = bytes.copy(chunk, 0, start, start + chunkBytes)
    await sink.write(chunk.subarray(0, filledBytes))
    chunk.fill(0xff)
  }
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

/**
 * Streams so many MiB in a process of its own, run as an agent is, which never holds them. @returns the most memory that process ever had, in MiB
 */
export function streamMany(config: TargetConfig, secret: TargetSecret, mib: number): number {
  const program = join(import.meta.dirname, 'stream-program.ts')
  const input = JSON.stringify({ config, secret, mib })
  const printed = execFileSync(process.execPath, [...AGENT.flags, program], {
    input,
    env: { ...process.env, ...AGENT.environment },
    timeout: 60_000,
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  return Number(printed.toString())
}

import { execFileSync } from 'node:child_process'
import type { PointFiles, RangeSource } from '../../agent/archive/range-source.ts'
import type { ArchiveSink } from '../../agent/archive/sink.ts'

export interface AgeKeys {
  readonly identity: string
  readonly recipient: string
}

/** A pair of keys of the age tool's own making. */
export function ageKeys(): AgeKeys {
  const text = execFileSync('age-keygen', { stdio: ['ignore', 'pipe', 'ignore'] }).toString()
  const identity = text.trim().split('\n').at(-1) ?? ''
  return {
    identity,
    recipient: execFileSync('age-keygen', ['-y'], { input: `${identity}\n` })
      .toString()
      .trim(),
  }
}

/** A point's files in memory, as a sink and to be read; `reads` counts the bytes that were asked for. */
export class MemoryPoint implements ArchiveSink, PointFiles {
  readonly files = new Map<string, Buffer>()
  readonly reads: { readonly offset: number; readonly length: number }[] = []

  async open(name: string): Promise<RangeSource & { write(chunk: Uint8Array): Promise<void>; close(): Promise<void> }> {
    const pieces: Buffer[] = []
    const file = () => this.files.get(name) ?? Buffer.alloc(0)
    return {
      size: file().length,
      read: async (offset, length) => {
        this.reads.push({ offset, length })
        return file().subarray(offset, offset + length)
      },
      // A copy: the chunk is the writer's again.
      write: async (chunk) => void pieces.push(Buffer.from(chunk)),
      close: async () => void this.files.set(name, Buffer.concat(pieces)),
      [Symbol.asyncDispose]: async () => undefined,
    }
  }

  async commit(): Promise<void> {}

  async abort(): Promise<void> {
    this.files.clear()
  }
}

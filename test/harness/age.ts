import { execFileSync } from 'node:child_process'
import type { PointFiles, RangeSource } from '../../agent/archive/range-source.ts'
import type { ArchiveSink } from '../../agent/archive/sink.ts'
import { findTool } from '../../deploy/tools.ts'

const MAX_OUTPUT_BYTES = 2 ** 26

export interface AgeKeys {
  readonly identity: string
  readonly recipient: string
}

/** Runs age or age-keygen. @throws when it fails */
export function runAge(tool: 'age' | 'age-keygen', args: readonly string[], input: Buffer | string = ''): Buffer {
  const path = findTool(tool)
  if (path === undefined) throw new Error(`${tool} is not installed`)
  return execFileSync(path, args, { input, maxBuffer: MAX_OUTPUT_BYTES, stdio: ['pipe', 'pipe', 'pipe'] })
}

/** A pair of keys of the age tool's own making. */
export function ageKeys(): AgeKeys {
  const identity = runAge('age-keygen', []).toString().trim().split('\n').at(-1) ?? ''
  return { identity, recipient: runAge('age-keygen', ['-y'], `${identity}\n`).toString().trim() }
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

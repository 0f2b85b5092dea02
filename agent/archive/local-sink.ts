import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { FleetError } from '../../shared/errors.ts'
import { asFleetError } from '../native/system-error.ts'
import { WriteBehind } from '../native/write-behind.ts'
import type { ArchiveSink, SinkFile } from './sink.ts'

const PARTIAL = '.partial'
const NAME = /^[a-z0-9][a-z0-9.-]{0,99}$/

/**
 * A point as a directory of this host: `<name>.partial` until every file and the directory are on disk, then one rename.
 * @param parent exists; @param name free in it: a point is never replaced
 */
export class LocalSink implements ArchiveSink {
  readonly #parent: string
  readonly #partial: string
  readonly #final: string
  readonly #open = new Map<FileHandle, WriteBehind>()
  #made = false

  constructor(parent: string, name: string) {
    this.#parent = parent
    this.#final = join(parent, name)
    this.#partial = `${this.#final}${PARTIAL}`
  }

  async open(name: string, signal: AbortSignal): Promise<SinkFile> {
    signal.throwIfAborted()
    if (!NAME.test(name)) throw new FleetError('invalid', 'a file of a point has a name of ours')
    return this.#told(async () => {
      if (!this.#made) await mkdir(this.#partial, { mode: 0o700 })
      this.#made = true
      const handle = await open(join(this.#partial, name), 'wx', 0o600)
      const behind = new WriteBehind(handle.fd)
      this.#open.set(handle, behind)
      let bytes = 0
      return {
        write: (chunk) =>
          this.#told(async () => {
            await writeWhole(handle, chunk)
            bytes += chunk.length
            behind.grown(bytes)
          }),
        close: () =>
          this.#told(async () => {
            await behind.settled()
            await handle.sync()
            this.#open.delete(handle)
            await handle.close()
          }),
      }
    })
  }

  commit(): Promise<void> {
    return this.#told(async () => {
      await syncDirectory(this.#partial)
      // rename replaces an empty directory without a word; mkdir says whether the name is free.
      await mkdir(this.#final, { mode: 0o700 })
      await rename(this.#partial, this.#final)
      await syncDirectory(this.#parent)
    })
  }

  async abort(): Promise<void> {
    for (const [handle, behind] of this.#open) {
      await behind.settled().catch(() => undefined)
      await handle.close()
    }
    this.#open.clear()
    if (this.#made) await rm(this.#partial, { recursive: true, force: true })
  }

  async #told<T>(act: () => Promise<T>): Promise<T> {
    try {
      return await act()
    } catch (error) {
      throw asFleetError(error, 'the backup directory')
    }
  }
}

async function writeWhole(handle: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let done = 0; done < chunk.length; ) done += (await handle.write(chunk, done)).bytesWritten
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

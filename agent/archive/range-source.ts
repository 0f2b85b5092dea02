import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { FleetError } from '../../shared/errors.ts'
import { asFleetError } from '../native/system-error.ts'

/** A stored file that can be read anywhere. */
export interface RangeSource extends AsyncDisposable {
  readonly size: number
  /** Exactly these bytes. @throws corrupt when the file is shorter; what the target tells */
  read(offset: number, length: number, signal: AbortSignal): Promise<Buffer>
}

/** The files of one point. */
export interface PointFiles {
  /** @throws not_found */
  open(name: string, signal: AbortSignal): Promise<RangeSource>
}

/** A point in a directory of this host. */
export class LocalPointFiles implements PointFiles {
  readonly #directory: string

  constructor(directory: string) {
    this.#directory = directory
  }

  async open(name: string, signal: AbortSignal): Promise<RangeSource> {
    if (signal.aborted) throw new FleetError('cancelled', 'cancelled')
    try {
      const handle = await open(join(this.#directory, name), 'r')
      return new LocalRange(handle, (await handle.stat()).size)
    } catch (error) {
      throw asFleetError(error, `the point's ${name}`)
    }
  }
}

class LocalRange implements RangeSource {
  readonly size: number
  readonly #handle: FileHandle

  constructor(handle: FileHandle, size: number) {
    this.#handle = handle
    this.size = size
  }

  async read(offset: number, length: number, signal: AbortSignal): Promise<Buffer> {
    if (signal.aborted) throw new FleetError('cancelled', 'cancelled')
    const bytes = Buffer.allocUnsafeSlow(length)
    try {
      for (let done = 0; done < length; ) {
        const { bytesRead } = await this.#handle.read(bytes, done, length - done, offset + done)
        if (bytesRead === 0) throw new FleetError('corrupt', 'a file of the point is shorter than was recorded')
        done += bytesRead
      }
    } catch (error) {
      throw asFleetError(error, 'the point')
    }
    return bytes
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close()
  }
}

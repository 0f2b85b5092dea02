import { FleetError } from '../../shared/errors.ts'
import { poolHash } from '../native/pool-hash.ts'

/** What went into an upload: counted and hashed as it passes. */
export class Tally implements Disposable {
  readonly #hash = poolHash('sha256')
  sizeBytes = 0

  /** The chunk must stay as it is until this resolves. */
  add(chunk: Buffer): Promise<void> {
    this.sizeBytes += chunk.length
    return this.#hash.update(chunk)
  }

  /** Ends the tally. */
  digest(): string {
    return this.#hash.digest().toString('hex')
  }

  [Symbol.dispose](): void {
    this.#hash[Symbol.dispose]()
  }
}

/** @throws FleetError `corrupt` saying what differs */
export function requireSame(
  found: { readonly sizeBytes: number; readonly sha256: string },
  expected: { readonly sizeBytes: number; readonly sha256: string },
  what: string,
): void {
  if (found.sizeBytes !== expected.sizeBytes)
    throw new FleetError('corrupt', `${what} is ${found.sizeBytes} bytes long, not ${expected.sizeBytes}`)
  if (found.sha256 !== expected.sha256) throw new FleetError('corrupt', `${what} does not match its hash`)
}

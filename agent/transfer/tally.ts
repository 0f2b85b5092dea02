import { createHash } from 'node:crypto'
import { FleetError } from '../../shared/errors.ts'

/** What went into an upload: counted and hashed as it passes. */
export class Tally {
  readonly #hash = createHash('sha256')
  sizeBytes = 0

  add(chunk: Buffer): void {
    this.#hash.update(chunk)
    this.sizeBytes += chunk.length
  }

  /** Ends the tally. */
  digest(): string {
    return this.#hash.digest('hex')
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

import { type Identity, identityOf } from '../../../shared/age-header.ts'
import { identityKey } from '../../../shared/age-keys.ts'
import { FleetError } from '../../../shared/errors.ts'
import { RESTORE, SUMS } from '../frame-table.ts'
import type { PointFiles, RangeSource } from '../range-source.ts'
import { EncryptedRange } from './encrypted-range.ts'
import { AGE_SUFFIX } from './encrypted-sink.ts'

const PLAIN: ReadonlySet<string> = new Set([RESTORE, SUMS])

/**
 * The files of a point as they were before they were encrypted; a plain point's as they are. A read fetches the chunks it needs
 * and no others; opening fetches the header and the last chunk, which proves that nothing is missing at the end.
 * @param identities `AGE-SECRET-KEY-1…`; with none, a plain point can be read
 * @throws FleetError invalid when one is none. Reading: refused when none of them opens the point; corrupt
 */
export function decryptedFiles(files: PointFiles, identities: readonly string[]): PointFiles {
  const keys = identities.map(identityOfText)
  let encrypted: boolean | undefined
  const open = async (name: string, signal: AbortSignal) =>
    openEncrypted(await files.open(`${name}${AGE_SUFFIX}`, signal), keys, signal)
  return {
    async open(name, signal) {
      if (PLAIN.has(name) || encrypted === false) return files.open(name, signal)
      if (encrypted === true) return open(name, signal)
      try {
        const source = await open(name, signal)
        encrypted = true
        return source
      } catch (error) {
        if (!(error instanceof FleetError) || error.code !== 'not_found') throw error
        const source = await files.open(name, signal)
        encrypted = false
        return source
      }
    },
  }
}

function identityOfText(identity: string): Identity {
  try {
    return identityOf(identityKey(identity))
  } catch (error) {
    // No cause: nothing that has seen the key goes on.
    throw new FleetError('invalid', `an identity ${error instanceof Error ? error.message : ''}`)
  }
}

async function openEncrypted(
  source: RangeSource,
  identities: readonly Identity[],
  signal: AbortSignal,
): Promise<RangeSource> {
  try {
    return await EncryptedRange.open(source, identities, signal)
  } catch (error) {
    await source[Symbol.asyncDispose]()
    throw error
  }
}

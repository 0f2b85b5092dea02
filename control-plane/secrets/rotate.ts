import type { SealedRow, SealedRows } from '../core/secrets.ts'
import { placeOf } from './secrets.ts'
import type { Vault } from './vault.ts'

/** Rows in one transaction: locked for milliseconds. */
const BATCH = 100
const FIRST_ID = '00000000-0000-0000-0000-000000000000'

export interface Rotation {
  readonly keyId: string
  readonly resealed: number
  /** Rows that none of our keys opens; they stay as they are. */
  readonly unopened: readonly { readonly id: string; readonly kind: string; readonly keyId: string }[]
  /** How many rows the newest key has sealed now. */
  readonly current: number
}

/**
 * Seals with the newest key what others have sealed, in batches. Safe at any time and as often as one likes: each batch stands
 * by itself, and what is done already is passed over.
 */
export async function rotateSecrets({
  rows,
  vault,
}: {
  readonly rows: SealedRows
  readonly vault: Vault
}): Promise<Rotation> {
  const unopened: { id: string; kind: string; keyId: string }[] = []

  function sealAgain(row: SealedRow): Buffer | undefined {
    try {
      return vault.seal(placeOf(row), vault.open(placeOf(row), row.sealed))
    } catch {
      unopened.push({ id: row.id, kind: row.kind, keyId: row.keyId })
      return undefined
    }
  }

  let resealed = 0
  let after: string | undefined = FIRST_ID
  while (after !== undefined) {
    const batch = await rows.resealOthers({ keyId: vault.keyId, after, limit: BATCH }, sealAgain)
    resealed += batch.done
    after = batch.last
  }
  const current = (await rows.byKey()).get(vault.keyId) ?? 0
  return { keyId: vault.keyId, resealed, unopened, current }
}

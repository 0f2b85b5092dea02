import { ConfigError } from '../../shared/config.ts'
import type { SealedRows } from '../core/secrets.ts'
import type { Keyring } from './keyring.ts'
import { placeOf } from './secrets.ts'
import type { Vault } from './vault.ts'

/** A sealed row that is there from the first start on, only to be opened at every start. */
const CANARY = { id: '00000000-0000-7000-8000-0000000000ca', groupId: null, kind: 'canary' }
const SONG = Buffer.from('holdfast')

/**
 * Whether the keys of this process open what this database keeps: found at the start, not when a backup needs a password.
 * @throws ConfigError naming the setting.
 */
export async function checkKeys(deps: {
  readonly rows: Pick<SealedRows, 'insert' | 'find' | 'byKey'>
  readonly vault: Vault
  readonly keys: Keyring
}): Promise<void> {
  const { rows, vault, keys } = deps
  const strange = [...(await rows.byKey()).keys()].filter((id) => keys.every((key) => key.id !== id))
  if (strange.length > 0)
    throw unusable(`it holds secrets of the key ${strange.join(', ')}, which is not among those given`)
  await rows.insert({ ...CANARY, sealed: vault.seal(placeOf(CANARY), SONG), keyId: vault.keyId })
  const canary = await rows.find(CANARY.id)
  try {
    if (canary && vault.open(placeOf(CANARY), canary.sealed).equals(SONG)) return
  } catch {
    // What is wrong with it is told below.
  }
  throw unusable('its canary does not open')
}

function unusable(why: string): ConfigError {
  const settings = 'HOLDFAST_SECRETS_KEY_FILE (or HOLDFAST_SECRETS_KEY)'
  return new ConfigError(`${settings}: these are not the keys of this database: ${why}`)
}

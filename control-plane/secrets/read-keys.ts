import { readFileSync } from 'node:fs'
import { ConfigError } from '../../shared/config.ts'
import { type Keyring, parseKeyring } from './keyring.ts'

export interface KeySettings {
  readonly HOLDFAST_SECRETS_KEY_FILE?: string | undefined
  readonly HOLDFAST_SECRETS_KEY?: string | undefined
}

/** The keys of this process. @throws ConfigError naming the setting, and never what it holds. */
export function readKeys(settings: KeySettings): Keyring {
  const { HOLDFAST_SECRETS_KEY_FILE: file, HOLDFAST_SECRETS_KEY: text } = settings
  if (file !== undefined) return named('HOLDFAST_SECRETS_KEY_FILE', () => parseKeyring(readFileSync(file, 'utf8')))
  if (text !== undefined) return named('HOLDFAST_SECRETS_KEY', () => parseKeyring(text))
  throw new ConfigError(
    'HOLDFAST_SECRETS_KEY_FILE: is required: a file with 32 random bytes in base64 (openssl rand -base64 32), kept as safe as the database',
  )
}

function named(setting: string, read: () => Keyring): Keyring {
  try {
    return read()
  } catch (error) {
    throw new ConfigError(`${setting}: ${error instanceof Error ? error.message : 'cannot be read'}`)
  }
}

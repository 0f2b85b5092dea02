import { existsSync, readFileSync } from 'node:fs'
import { mkdir, open } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { z } from 'zod'
import { ConfigError } from '../../shared/config.ts'
import { FleetError } from '../../shared/errors.ts'
import { ControlPlaneConfig } from '../config.ts'
import type { Member } from './tar.ts'

/** What a station needs beside its database, in settings that are each the file itself or its path. */
export const KeySettings = ControlPlaneConfig.pick({
  HOLDFAST_SECRETS_KEY_FILE: true,
  HOLDFAST_SECRETS_KEY: true,
  NATS_AUTHORITY_FILE: true,
  NATS_SEED_FILE: true,
  HOLDFAST_CREDENTIALS_FILE: true,
  HOLDFAST_ALERT_SECRET_FILE: true,
  HOLDFAST_ALERT_SECRET: true,
})
export type KeySettings = Readonly<z.infer<typeof KeySettings>>

/** What `holdfast nats authority` leaves beside the authority, which nats-server includes: agents' keys are worth nothing without it. */
const AUTHORITY_CONFIGURATION = 'authority.conf'

/** @throws ConfigError naming the setting that leads nowhere, and never what it holds. */
export function readStationKeys(settings: KeySettings): readonly Member[] {
  const authority = settings.NATS_AUTHORITY_FILE
  const beside = authority === undefined ? undefined : join(dirname(authority), AUTHORITY_CONFIGURATION)
  return [
    ...given(
      'secrets-key',
      'HOLDFAST_SECRETS_KEY_FILE',
      settings.HOLDFAST_SECRETS_KEY_FILE,
      settings.HOLDFAST_SECRETS_KEY,
    ),
    ...given('authority.json', 'NATS_AUTHORITY_FILE', authority),
    ...(beside !== undefined && existsSync(beside)
      ? given(AUTHORITY_CONFIGURATION, 'NATS_AUTHORITY_FILE', beside)
      : []),
    ...given('nats-seed', 'NATS_SEED_FILE', settings.NATS_SEED_FILE),
    ...given('credentials.json', 'HOLDFAST_CREDENTIALS_FILE', settings.HOLDFAST_CREDENTIALS_FILE),
    ...given(
      'alert-secret',
      'HOLDFAST_ALERT_SECRET_FILE',
      settings.HOLDFAST_ALERT_SECRET_FILE,
      settings.HOLDFAST_ALERT_SECRET,
    ),
  ]
}

function given(name: string, setting: string, file: string | undefined, text?: string): readonly Member[] {
  if (file === undefined) return text === undefined ? [] : [{ name, bytes: Buffer.from(`${text}\n`) }]
  try {
    return [{ name, bytes: readFileSync(file) }]
  } catch {
    throw new ConfigError(`${setting}: ${file} cannot be read`)
  }
}

/** Mode 0600, in a directory of mode 0700. What is there already stays: the same is well. @throws exists. */
export async function writeStationKeys(directory: string, keys: readonly Member[]): Promise<readonly string[]> {
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const written: string[] = []
  for (const { name, bytes } of keys) {
    const path = join(directory, name)
    if (existsSync(path)) {
      if (readFileSync(path).equals(bytes)) continue
      throw new FleetError('exists', `${path} is there already and is another one: it is not replaced`)
    }
    await using file = await open(path, 'wx', 0o600)
    await file.writeFile(bytes)
    await file.sync()
    written.push(path)
  }
  return written
}

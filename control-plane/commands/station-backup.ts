import { z } from 'zod'
import { AgeRecipient } from '../../shared/age-keys.ts'
import { readConfig } from '../../shared/config.ts'
import { FleetError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import { ControlPlaneConfig } from '../config.ts'
import { KeySettings, readStationKeys } from '../station/station-keys.ts'
import { writeBackup } from '../station/write-backup.ts'
import type { Command } from './command.ts'

const Options = z.object({
  to: z.string('is required').min(1),
  recipient: z.array(AgeRecipient).default([]),
  'with-keys': z.boolean().default(false),
  json: z.boolean().default(false),
})

/** The control plane may run meanwhile. With recipients the keys come along; without, only when that is said. */
export const stationBackup: Command = {
  usage: '--to DIR [--recipient age1…] [--with-keys] [--json]',
  summary: 'back up the database of the station, and its keys where they are encrypted',
  options: {
    to: { type: 'string' },
    recipient: { type: 'string', multiple: true },
    'with-keys': { type: 'boolean' },
    json: { type: 'boolean' },
  },

  async run({ options, environment, say }) {
    const { to, recipient, json, ...more } = parsed(options)
    const withKeys = recipient.length > 0 || more['with-keys']
    const keys = withKeys ? readStationKeys(readConfig(KeySettings, environment)) : []
    const { DATABASE_URL: url } = readConfig(ControlPlaneConfig.pick({ DATABASE_URL: true }), environment)
    const id = newId()
    const { signal } = new AbortController()
    const made = await writeBackup({ url, directory: to, id, recipients: recipient, keys, signal })
    const names = keys.map(({ name }) => name)
    if (json) {
      say(
        JSON.stringify({
          ...{ id, file: made.path, stored_bytes: made.storedBytes, sha256: made.sha256 },
          ...{ encrypted: made.encrypted, keys: names },
        }),
      )
      return 0
    }
    say(`${made.path}`)
    say(`${made.storedBytes} bytes, sha256 ${made.sha256}${made.encrypted ? ', encrypted' : ''}`)
    say(
      names.length > 0
        ? `keys in it: ${names.join(', ')}`
        : 'no keys in it: keep them apart, nothing else opens its secrets',
    )
    return 0
  },
}

function parsed(options: Readonly<Record<string, unknown>>): z.infer<typeof Options> {
  const result = Options.safeParse(options)
  if (result.success) return result.data
  const [issue] = result.error.issues
  throw new FleetError('invalid', `--${String(issue?.path[0])}: ${issue?.message}`)
}

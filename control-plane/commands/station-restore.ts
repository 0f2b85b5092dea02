import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { AgeIdentity } from '../../shared/age-keys.ts'
import { readConfig } from '../../shared/config.ts'
import { FleetError } from '../../shared/errors.ts'
import { ControlPlaneConfig } from '../config.ts'
import { checkBackup, restoreBackup } from '../station/restore-backup.ts'
import { findBackup } from '../station/shelf.ts'
import type { Command } from './command.ts'

const Options = z.object({
  from: z.string('is required').min(1),
  identity: z.string().optional(),
  'keys-to': z.string().min(1).optional(),
  check: z.boolean().default(false),
})

/** The database of `DATABASE_URL` must be a new one; the control plane is started behind it. */
export const stationRestore: Command = {
  usage: '--from FILE|DIR [--identity FILE] [--keys-to DIR] [--check]',
  summary: 'fill an empty database from a backup of the station; --check reads the backup and changes nothing',
  options: {
    from: { type: 'string' },
    identity: { type: 'string' },
    'keys-to': { type: 'string' },
    check: { type: 'boolean' },
  },

  async run({ options, environment, say }) {
    const parsed = Options.safeParse(options)
    if (!parsed.success) throw new FleetError('invalid', `--${whatOf(parsed.error)}`)
    const { from, identity, check, 'keys-to': keysTo } = parsed.data
    const identities = identity === undefined ? [] : readIdentities(identity)
    const path = await findBackup(from)
    if (check) {
      const { head, keys } = await checkBackup(path, identities)
      say(`${path}: whole, of version ${head.version}, made at ${head.createdAt}`)
      say(keys.length > 0 ? `keys in it: ${keys.map(({ name }) => name).join(', ')}` : 'no keys in it')
      return 0
    }
    const { DATABASE_URL: url } = readConfig(ControlPlaneConfig.pick({ DATABASE_URL: true }), environment)
    const { head, rows, jobs, restores, keys } = await restoreBackup({ url, path, identities, keysTo })
    say(`restored ${path}`)
    say(`made at ${head.createdAt} by version ${head.version}: ${rows} rows`)
    say(`open at that moment and asked back: ${jobs} jobs, ${restores} restores`)
    for (const key of keys) say(`key ${key}`)
    if (head.keys.length > 0 && keysTo === undefined) say('its keys were left in it: --keys-to DIR writes them')
    return 0
  },
}

function whatOf({ issues: [issue] }: z.ZodError): string {
  return `${String(issue?.path[0])}: ${issue?.message}`
}

/** As `age-keygen` writes them: one a line, comments between. @throws invalid, and repeats nothing of the file. */
function readIdentities(path: string): readonly string[] {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch {
    throw new FleetError('invalid', `--identity: ${path} cannot be read`)
  }
  const lines = text.split('\n').map((line) => line.trim())
  const identities = lines.filter((line) => line !== '' && !line.startsWith('#'))
  for (const one of identities) {
    const parsed = AgeIdentity.safeParse(one)
    if (!parsed.success) throw new FleetError('invalid', `--identity: ${path} ${parsed.error.issues[0]?.message}`)
  }
  if (identities.length === 0) throw new FleetError('invalid', `--identity: ${path} holds no identity`)
  return identities
}

import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'
import { newAuthority } from '../hosts/authority.ts'
import type { Command } from './command.ts'

const Options = z.object({ folder: z.string().min(1) })
const PRIVATE = { mode: 0o600, flag: 'wx' } as const

/** Made by `npm start` for its private nats-server, and by the operator of any other. */
export const natsAuthority: Command = {
  usage: '--folder DIR',
  summary: 'make what nats-server and the control plane need to give every agent credentials of its own',
  options: { folder: { type: 'string' } },

  async run({ options, say }) {
    const parsed = Options.safeParse(options)
    if (!parsed.success) throw new FleetError('invalid', '--folder: is required')
    const { folder } = parsed.data
    if (existsSync(join(folder, AUTHORITY))) {
      throw new FleetError(
        'exists',
        `${join(folder, AUTHORITY)} is there already: agents are known by it, so it is not replaced`,
      )
    }
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    const { keys, identities, configuration } = await newAuthority()
    // The authority last: it tells that all of it is there.
    writeFileSync(join(folder, IDENTITIES), `${JSON.stringify(identities, null, 2)}\n`, { ...PRIVATE, flag: 'w' })
    writeFileSync(join(folder, CONFIGURATION), configuration, { ...PRIVATE, flag: 'w' })
    writeFileSync(join(folder, AUTHORITY), `${JSON.stringify(keys, null, 2)}\n`, PRIVATE)
    say(`${join(folder, CONFIGURATION)}: include it in nats-server's configuration`)
    say(`${join(folder, AUTHORITY)}: for the control plane, as NATS_AUTHORITY_FILE`)
    say(`${join(folder, IDENTITIES)}: keep it off-line; nobody reads it`)
    return 0
  },
}

const AUTHORITY = 'authority.json'
const CONFIGURATION = 'authority.conf'
const IDENTITIES = 'identities.json'

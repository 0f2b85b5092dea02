import { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'
import { DirectoryName } from '../core/directory-words.ts'
import { createFirstAdminStore } from '../db/stores/first-admin-store.ts'
import { createAdmin as create } from '../identity/first-admin.ts'
import { type Command, withDatabase } from './command.ts'

const Options = z.object({ name: z.string('is required').pipe(DirectoryName) })

/** For a fleet that nobody can log in to yet, or any more. */
export const createAdmin: Command = {
  usage: '--name NAME',
  summary: 'make an admin of the whole fleet and print the password, once',
  options: { name: { type: 'string' } },

  async run({ options, environment, say }) {
    const parsed = Options.safeParse(options)
    if (!parsed.success) throw new FleetError('invalid', `--name: ${parsed.error.issues[0]?.message}`)
    const { name } = parsed.data
    const password = await withDatabase(environment, (sql) => create(createFirstAdminStore(sql), name))
    say(`user ${name}`)
    say(`password ${password}`)
    return 0
  },
}

import { parseArgs } from 'node:util'
import { ConfigError } from '../shared/config.ts'
import { FleetError } from '../shared/errors.ts'
import { auditVerify } from './commands/audit-verify.ts'
import { certificatesAuthority, certificatesIssue, certificatesRevoke } from './commands/certificates.ts'
import type { Command } from './commands/command.ts'
import { createAdmin } from './commands/create-admin.ts'
import { natsAuthority } from './commands/nats-authority.ts'
import { secretsRotate } from './commands/secrets-rotate.ts'
import { stationBackup } from './commands/station-backup.ts'
import { stationRestore } from './commands/station-restore.ts'

/** `npm run holdfast -- <command> [--option value]…`: what an operator does beside the running control plane. */
const COMMANDS: Readonly<Record<string, Command>> = {
  'create-admin': createAdmin,
  'audit verify': auditVerify,
  'secrets rotate': secretsRotate,
  'nats authority': natsAuthority,
  'certificates authority': certificatesAuthority,
  'certificates issue': certificatesIssue,
  'certificates revoke': certificatesRevoke,
  'station backup': stationBackup,
  'station restore': stationRestore,
}

const HELP_ASKED = new Set(['', 'help', '--help', '-h'])

function usage(): string {
  const lines = Object.entries(COMMANDS).map(
    ([name, { usage, summary }]) => `  ${`${name} ${usage}`.padEnd(36)} ${summary}`,
  )
  return ['usage: holdfast <command>', ...lines].join('\n')
}

/** The command may be two words: `audit verify`. */
function find(words: readonly string[]): { readonly command: Command; readonly rest: readonly string[] } | undefined {
  for (const length of [2, 1]) {
    const command = COMMANDS[words.slice(0, length).join(' ')]
    if (command && words.length >= length) return { command, rest: words.slice(length) }
  }
  return undefined
}

/** What `parseArgs` throws. */
function isUsage(error: unknown): error is Error {
  return error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS')
}

async function run(words: readonly string[]): Promise<number> {
  if (HELP_ASKED.has(words[0] ?? '')) {
    console.log(usage())
    return 0
  }
  const found = find(words)
  if (!found) {
    console.error(`there is no command '${words[0]}'\n${usage()}`)
    return 2
  }
  try {
    const { values } = parseArgs({ args: [...found.rest], options: found.command.options })
    return await found.command.run({ options: values, environment: process.env, say: (line) => console.log(line) })
  } catch (error) {
    if (error instanceof FleetError || error instanceof ConfigError || isUsage(error)) {
      console.error(`holdfast: ${error.message}`)
      return isUsage(error) ? 2 : (found.command.exitCodeOfErrors ?? 1)
    }
    throw error
  }
}

process.exitCode = await run(process.argv.slice(2))

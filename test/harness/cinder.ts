import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import type { ExecutionContext } from 'ava'
import { temporaryDirectory } from './loop-mount.ts'
import { lacksTool } from './system-packages.ts'

/** The one that Debian's modules are of: a user's own Python has none of them. */
const PYTHON = '/usr/bin/python3'
const COMMAND_MS = 60_000
/** The newest that is spoken here: asked for a newer one the client says of each command that it goes down to it. */
const MICROVERSION = ['--os-volume-api-version', '3.65']

export function lacksCinder(): string | undefined {
  return lacksTool('cinder', 'python3')
}

export interface Ran {
  readonly code: number
  readonly said: string
}

/** What a command is told beside its words. */
export interface CinderIdentity {
  readonly url: string
  readonly project: string
  /** A token; null: nobody asks who it is. */
  readonly token: string | null
}

/** Debian's own client, whose commands run in one process after each other. */
export function openCinder(t: Pick<ExecutionContext, 'teardown'>) {
  const home = temporaryDirectory(t)
  const shell = spawn(PYTHON, [join(import.meta.dirname, 'cinder_shell.py')], { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface({ input: shell.stdout })[Symbol.asyncIterator]()
  t.teardown(async () => {
    shell.stdin.end()
    if (shell.exitCode === null) await once(shell, 'exit')
  })

  function invocation({ url, project, token }: CinderIdentity, words: readonly string[]) {
    const identity = token === null ? { OS_USER_ID: 'anybody' } : { OS_TOKEN: token }
    const to = { OS_PROJECT_ID: project, CINDER_ENDPOINT: `${url}/v3/${project}` }
    const environment = { PATH: process.env.PATH ?? '', HOME: home, NO_PROXY: '*', ...to, ...identity }
    // Said in the environment it gets in the way of the client's own words.
    return {
      environment,
      words: [...MICROVERSION, '--os-auth-type', token === null ? 'noauth' : 'admin_token', ...words],
    }
  }

  return {
    /** The program itself. */
    async program(as: CinderIdentity, words: readonly string[]): Promise<Ran> {
      const asked = invocation(as, words)
      const options = { env: asked.environment, timeout: COMMAND_MS }
      return promisify(execFile)('cinder', asked.words, options).then(
        ({ stdout, stderr }) => ({ code: 0, said: stdout + stderr }),
        (failed) => ({ code: 1, said: `${failed.stdout}${failed.stderr}` }),
      )
    },

    async run(as: CinderIdentity, words: readonly string[]): Promise<Ran> {
      shell.stdin.write(`${JSON.stringify(invocation(as, words))}\n`)
      const { value, done } = await lines.next()
      if (done) throw new Error('the client has ended')
      return JSON.parse(value)
    },
  }
}

import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { isAbsolute } from 'node:path'

/** util-linux; ends the child when this process dies, whatever ends it. */
const SETPRIV = '/usr/bin/setpriv'
const SYSTEMD_RUN = '/usr/bin/systemd-run'
/** sd_booted(3) */
const BOOTED = '/run/systemd/system'

export interface DaemonProgram {
  /** What it is, for who lists the services of the host. */
  readonly description: string
  readonly file: string
  readonly args: readonly string[]
  /** Absolute: where it runs. */
  readonly directory: string
  readonly environment: Readonly<Record<string, string>>
  /** It goes on when this process ends; else it is killed with it, whatever ends it. */
  readonly outlives: boolean
}

/**
 * A daemon in the foreground that may be killed at any time (where the host goes down, systemd does so at once), with a session of its own, so that no Ctrl-C reaches it, and without output. One that outlives us is a
 * service of its own where systemd runs: what a service starts keeps its bounds, and would end with it.
 * @returns the process that was started: the daemon, or where systemd runs the program that asks for the service
 */
export function spawnDaemon(program: DaemonProgram): ChildProcess {
  const { file, directory, environment, outlives } = program
  assert(isAbsolute(file) && isAbsolute(directory), `${file} must be an absolute path, and have one to run in`)
  const child = spawn(...commandOf(program), {
    detached: true,
    cwd: directory,
    env: { LC_ALL: 'C', TZ: 'UTC', PATH: '/usr/sbin:/usr/bin:/sbin:/bin', ...environment },
    stdio: 'ignore',
  })
  if (outlives) child.unref()
  return child
}

/** What is started: the daemon under a tool that ties its life to ours, as it is, or by systemd. */
export function commandOf(
  program: DaemonProgram,
  isThere: (path: string) => boolean = existsSync,
): [file: string, args: string[]] {
  const { description, file, args, directory, environment, outlives } = program
  if (!outlives) return [SETPRIV, ['--pdeathsig', 'KILL', '--', file, ...args]]
  if (!isThere(BOOTED) || !isThere(SYSTEMD_RUN)) return [file, [...args]]
  const settings = Object.entries(environment).map(([name, value]) => `--setenv=${name}=${value}`)
  const own = ['--quiet', '--collect', '--no-block', `--description=${description}`, '--property=KillSignal=SIGKILL']
  return [SYSTEMD_RUN, [...own, `--working-directory=${directory}`, ...settings, '--', file, ...args]]
}

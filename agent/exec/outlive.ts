import assert from 'node:assert/strict'
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { isAbsolute } from 'node:path'
import type { Readable, Writable } from 'node:stream'

const SYSTEMD_RUN = '/usr/bin/systemd-run'
/** sd_booted(3) */
const BOOTED = '/run/systemd/system'

export type OutlivingProcess = ChildProcessByStdio<Writable, Readable, null>

/**
 * The other kind of child: one that is to go on when this process dies. It has a session of its own; where systemd runs, a scope
 * of its own too, as systemd kills what is left in the control group of a service whose main process died.
 * Whoever starts it keeps its pipes: an end of its stdin means that nobody waits for it any more.
 */
export function spawnOutliving(file: string, args: readonly string[]): OutlivingProcess {
  assert(isAbsolute(file), `${file} must be an absolute path`)
  const scope =
    existsSync(BOOTED) && existsSync(SYSTEMD_RUN) ? [SYSTEMD_RUN, '--scope', '--quiet', '--collect', '--'] : []
  const [program = file, ...words] = [...scope, file, ...args]
  return spawn(program, words, {
    detached: true,
    cwd: '/',
    env: { LC_ALL: 'C', TZ: 'UTC', PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    stdio: ['pipe', 'pipe', 'ignore'],
  })
}

import { existsSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { run } from '../exec/run.ts'

/** How one frozen instance is thawed by somebody who knows nothing else of it: the watchdog, or the next agent. */
export type ThawOrder =
  | { readonly kind: 'lxc'; readonly folder: string; readonly name: string }
  | { readonly kind: 'engine'; readonly socketPath: string; readonly container: string }
  /** `guest`: its file systems may be frozen too, through the agent in it. */
  | { readonly kind: 'libvirt'; readonly uri: string; readonly domain: string; readonly guest: boolean }

const STEP_TIMEOUT_MS = 10_000
const MAX_ANSWER_BYTES = 4 * 2 ** 20

/** Light on purpose: the watchdog loads this file alone. @returns whether the instance is known to run, or to be gone */
export function thawOnce(order: ThawOrder): Promise<boolean> {
  // as: each takes the order of its own kind
  return THAW[order.kind](order as never).catch(() => false)
}

const THAW: Readonly<Record<ThawOrder['kind'], (order: never) => Promise<boolean>>> = {
  lxc: cycleLxc,
  engine: askEngine,
  libvirt: resumeDomain,
}

/**
 * LXC 5.0 believes the state it was last told: after an lxc-freeze that was killed it says FREEZING for good, frozen or not, and
 * lxc-unfreeze then does nothing and exits with 0. A whole freeze brings state and processes together again.
 */
async function cycleLxc({ folder, name }: ThawOrder & { kind: 'lxc' }): Promise<boolean> {
  const call = (tool: string, ...args: readonly string[]) =>
    run(`/usr/bin/lxc-${tool}`, ['-P', folder, '-n', name, ...args], { signal: NEVER, timeoutMs: STEP_TIMEOUT_MS })
  const isSettled = async () => /^State: +(RUNNING|STOPPED)$/m.test((await call('info', '-s')).stdout)
  if (!existsSync(join(folder, name, 'config'))) return true
  await call('unfreeze')
  if (await isSettled()) return true
  await call('freeze')
  await call('unfreeze')
  return isSettled()
}
const NEVER = new AbortController().signal

/** Processors first: the agent in it cannot answer before. What is thawed already is thawed again without harm. */
async function resumeDomain({ uri, domain, guest }: ThawOrder & { kind: 'libvirt' }): Promise<boolean> {
  const virsh = (command: string) =>
    run('/usr/bin/virsh', ['-q', '-c', uri, command, '--domain', domain], {
      signal: NEVER,
      timeoutMs: STEP_TIMEOUT_MS,
    })
  const isPaused = async () => {
    const { exitCode, stdout, stderr } = await virsh('domstate')
    if (exitCode === 0) return stdout.trim() === 'paused'
    if (/Domain not found/.test(stderr)) return false
    throw new Error(stderr)
  }
  if (await isPaused()) await virsh('resume')
  if (await isPaused()) return false
  if (!guest) return true
  const { exitCode, stderr } = await virsh('domfsthaw')
  // Without its agent, as after a boot, nothing in it is frozen, or nobody can thaw it.
  return exitCode === 0 || /not running|not found|agent is not (connected|configured)/i.test(stderr)
}

/** Engines refuse to unpause what is not paused, each in its own words: so look first. */
async function askEngine({ socketPath, container }: ThawOrder & { kind: 'engine' }): Promise<boolean> {
  const path = `/containers/${encodeURIComponent(container)}`
  const seen = await ask(socketPath, 'GET', `${path}/json`)
  if (seen.status === 404) return true
  if (seen.status !== 200) return false
  // as: only one member is looked at, and any value of it is an answer
  if ((JSON.parse(seen.body) as { State?: { Paused?: unknown } }).State?.Paused !== true) return true
  return (await ask(socketPath, 'POST', `${path}/unpause`)).status === 204
}

function ask(socketPath: string, method: string, path: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(STEP_TIMEOUT_MS)
    const sent = request({ socketPath, method, path, signal, headers: { host: 'engine' } }, (answer) => {
      let body = ''
      answer.setEncoding('utf8')
      answer.on('data', (text: string) => {
        body += text
        if (body.length > MAX_ANSWER_BYTES) answer.destroy(new Error('too long an answer'))
      })
      answer.once('end', () => resolve({ status: answer.statusCode ?? 0, body }))
      answer.once('error', reject)
    })
    sent.once('error', reject)
    sent.end()
  })
}

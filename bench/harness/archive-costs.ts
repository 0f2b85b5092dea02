import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { AGENT } from '../../deploy/node-flags.ts'
import { median } from './statistics.ts'
import type { Workbench } from './workbench.ts'

export interface Cost {
  readonly wallMs: number
  /** User and system time of every process that took part. */
  readonly cpuMs: number
}

export interface OwnCost extends Cost {
  readonly peakMib: number
  readonly members: number
}

const PROGRAM = join(import.meta.dirname, '../programs/archive-run.ts')

/** Runs `archive-run.ts` in a process of its own, as an agent is run. */
export function ours(
  workbench: Workbench,
  act: 'backup' | 'restore' | 'verify' | 'image-backup' | 'image-restore',
  options: Readonly<Record<string, string>>,
): OwnCost {
  const { profileFolder, compileCache } = workbench
  const profile = profileFolder === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileFolder}`]
  const args = Object.entries(options).map(([key, value]) => `--${key}=${value}`)
  const told = execFileSync(process.execPath, [...AGENT.flags, ...profile, PROGRAM, act, ...args], {
    env: { PATH: process.env.PATH, ...AGENT.environment, NODE_COMPILE_CACHE: compileCache },
  })
  // as: the program prints exactly this
  return JSON.parse(told.toString()) as OwnCost
}

/** Runs a script of bash, and counts what all its children took. `$1` and so on are the arguments. */
export function theirs(
  script: string,
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Cost {
  const startedMs = performance.now()
  const told = execFileSync('/bin/bash', ['-ec', `set -o pipefail; ${script}\ntimes`, 'peer', ...args], {
    env: { PATH: '/usr/bin:/bin', LC_ALL: 'C', ...environment },
    stdio: ['ignore', 'pipe', 'inherit'],
  }).toString()
  const wallMs = performance.now() - startedMs
  // The last line is of the children that were waited for: `0m1.234s 0m0.567s`.
  const times = [...(told.trim().split('\n').at(-1) ?? '').matchAll(/(\d+)m([\d.]+)s/g)]
  const cpuMs = times.reduce((sum, [, minutes, seconds]) => sum + Number(minutes) * 60_000 + Number(seconds) * 1_000, 0)
  return { wallMs, cpuMs }
}

/** A contender and what to do behind its turn, outside of the clock: remove what it made. */
export interface Turn<Name extends string> {
  readonly name: Name
  /** Outside of the clock too. */
  readonly before?: () => void
  readonly run: () => Cost
  readonly after: () => void
}

/**
 * Lets each take its turn in every round, another one first each time, and everything written be on disk before the next
 * begins. The first round warms the caches and is not counted. @returns the medians
 */
export function compare<Name extends string>(
  workbench: Workbench,
  title: string,
  turns: readonly Turn<Name>[],
  beforeRound: (round: number) => void = () => undefined,
): Readonly<Record<Name, Cost>> {
  const costs = new Map<Name, Cost[]>(turns.map(({ name }) => [name, []]))
  for (let round = 0; round <= workbench.rounds; round += 1) {
    beforeRound(round)
    execFileSync('/bin/sync', ['-f', join(workbench.folder, 'pool')])
    const order = turns.map((_, index) => turns[(index + round) % turns.length])
    for (const turn of order) {
      turn?.before?.()
      const cost = turn?.run()
      turn?.after()
      execFileSync('/bin/sync', ['-f', join(workbench.folder, 'pool')])
      if (turn !== undefined && cost !== undefined && round > 0) costs.get(turn.name)?.push(cost)
    }
    workbench.say(
      `${title}, round ${round}: ${turns.map(({ name }) => told(name, costs.get(name)?.at(-1))).join(', ')}`,
    )
  }
  const medians = [...costs].map(([name, all]) => [
    name,
    { wallMs: median(all.map((cost) => cost.wallMs)), cpuMs: median(all.map((cost) => cost.cpuMs)) },
  ])
  // as: one entry a turn
  return Object.fromEntries(medians) as Record<Name, Cost>
}

function told(name: string, cost: Cost | undefined): string {
  return cost === undefined ? `${name} warm` : `${name} ${seconds(cost)}`
}

export function seconds({ wallMs, cpuMs }: Cost): string {
  return `${(wallMs / 1_000).toFixed(2)} s, CPU ${(cpuMs / 1_000).toFixed(2)} s`
}

import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestProcess } from './process.ts'
import { until } from './until.ts'

export type Place = 'before' | 'after' | 'undo'

/** Where in a pipeline something happens, and what. Of one agent that works on one job at a time. */
export interface Gate {
  readonly step: string
  readonly place: Place
  /** SIGKILL, at once or so much later, but before the step ends; or to wait there until the gate is opened. */
  readonly act: 'hold' | { readonly killAfterMs: number }
}

/** Stops or kills an agent at the steps of its pipelines; see step-gate.ts. */
export interface Steps {
  /** What the agent must be started with. */
  readonly environment: Readonly<Record<string, string>>
  /** In place of the one before, which opens. */
  set(gate: Gate): void
  open(): void
  /** Resolves once the agent waits at the gate. */
  held(): Promise<void>
  /** What was passed since the last call, in order: `<place> <step>`. */
  passed(): readonly string[]
  /** Resolves once the agent has died at the gate, as its service would wait before it starts the next. */
  died(agent: TestProcess): Promise<void>
}

export function stepsIn(folder: string): Steps {
  const path = (name: string) => join(folder, name)
  return {
    environment: {
      HOLDFAST_TEST_STEPS: folder,
      NODE_COMPILE_CACHE: path('compiled'),
      NODE_OPTIONS: `--import=${join(import.meta.dirname, 'step-gate.ts')}`,
    },
    set(gate) {
      writeFileSync(path('gate.json.new'), JSON.stringify(gate))
      renameSync(path('gate.json.new'), path('gate.json'))
    },
    open: () => rmSync(path('gate.json'), { force: true }),
    held: async () => {
      await until('the agent waits at the gate', () => existsSync(path('held')))
    },
    passed() {
      if (!existsSync(path('passed'))) return []
      const lines = readFileSync(path('passed'), 'utf8').trimEnd().split('\n')
      rmSync(path('passed'))
      return lines.map((line) => JSON.parse(line)).map(({ step, place }) => `${place} ${step}`)
    },
    async died(agent) {
      await until('the agent dies', () => !existsSync(path('gate.json')))
      // It may still be in a system call.
      await agent.signal('SIGKILL')
    },
  }
}

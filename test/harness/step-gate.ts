import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { flushCompileCache, registerHooks } from 'node:module'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Gate, Place } from './steps.ts'

/**
 * Loaded into an agent before its own code (`--import`, see steps.ts): its pipelines then stop or die where a test says so.
 * The agent's files stay as they are; only the loop over the steps is seen with two more calls in it.
 */
const POLL_MS = 5
const folder = process.env.HOLDFAST_TEST_STEPS ?? ''
const gatePath = join(folder, 'gate.json')

let isCompiled = false
/** In the middle of a step; at its end at the latest. */
let dying: { readonly step: string; readonly die: () => void } | undefined

async function pass(step: string, place: Place): Promise<void> {
  // Who is killed writes nothing at its end, and the next one compiles it all again.
  if (!isCompiled) flushCompileCache()
  isCompiled = true
  appendFileSync(join(folder, 'passed'), `${JSON.stringify({ step, place })}\n`)
  if (dying?.step === step && place === 'after') dying.die()
  const gate = read()
  if (gate === undefined || gate.step !== step || gate.place !== place) return
  if (gate.act === 'hold') {
    writeFileSync(join(folder, 'held'), step)
    while (isSame(read(), gate)) await delay(POLL_MS)
    rmSync(join(folder, 'held'), { force: true })
    return
  }
  // The agent that comes after it passes.
  const die = () => {
    rmSync(gatePath)
    process.kill(process.pid, 'SIGKILL')
  }
  if (gate.act.killAfterMs === 0) return die()
  dying = { step, die }
  setTimeout(die, gate.act.killAfterMs)
}

function isSame(one: Gate | undefined, other: Gate): boolean {
  return JSON.stringify(one) === JSON.stringify(other)
}

function read(): Gate | undefined {
  try {
    // as: steps.ts wrote it
    return JSON.parse(readFileSync(gatePath, 'utf8')) as Gate
  } catch {
    return undefined
  }
}

const SEEN: Readonly<Record<string, string>> = {
  'await step.run(context)': `await globalThis.passGate(step.name, 'before').then(() => step.run(context)).then(() => globalThis.passGate(step.name, 'after'))`,
  'await step.undo?.(context)': `await globalThis.passGate(step.name, 'undo').then(() => step.undo?.(context))`,
}

Object.assign(globalThis, { passGate: pass })
registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context)
    if (!url.endsWith('/agent/pipelines/run-pipeline.ts')) return loaded
    let source = String(loaded.source)
    for (const [call, gated] of Object.entries(SEEN)) {
      if (source.split(call).length !== 2) throw new Error(`step-gate.ts: '${call}' does not stand once in ${url}`)
      source = source.replace(call, gated)
    }
    return { ...loaded, source }
  },
})

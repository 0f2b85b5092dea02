import type { Volume } from '../volumes.ts'
import type { VolumeLooks } from './volume-rows.ts'

/** Names of one question: a listing's output is bounded, and each may have many snapshots. */
const MAX_AT_ONCE = 200

interface Waiting {
  readonly name: string
  resolve(volume: Volume | undefined): void
  reject(error: unknown): void
}

/**
 * Looks for volumes by their full names. What is asked for in one turn of the loop, or while `zfs` is at work on an earlier question, goes
 * into one question.
 */
export function createFinder(looks: VolumeLooks): (name: string) => Promise<Volume | undefined> {
  const { signal } = new AbortController()
  const waiting: Waiting[] = []
  let isAsking = false

  async function answer(some: readonly Waiting[]): Promise<void> {
    try {
      const names = some.map(({ name }) => name)
      const standing = await looks.standing([...new Set(names)], signal)
      const volumes = await looks.volumes(standing, signal)
      const byName = new Map(standing.map(({ row }, index) => [row.name, volumes[index]]))
      for (const { name, resolve } of some) resolve(byName.get(name))
    } catch (error) {
      for (const { reject } of some) reject(error)
    }
  }

  async function answerAll(): Promise<void> {
    isAsking = true
    await Promise.resolve() // others of this turn
    while (waiting.length > 0) await answer(waiting.splice(0, MAX_AT_ONCE))
    isAsking = false
  }

  return (name) =>
    new Promise((resolve, reject) => {
      waiting.push({ name, resolve, reject })
      if (!isAsking) void answerAll()
    })
}

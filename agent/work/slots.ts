/** How much is worked on at one time; who finds no slot free waits in the order of arrival. */
export interface Slots {
  run<Result>(work: () => Promise<Result>): Promise<Result>
}

export function createSlots(count: number): Slots {
  const waiting: (() => void)[] = []
  let free = count

  return {
    async run(work) {
      if (free > 0) free -= 1
      else await new Promise<void>((resolve) => waiting.push(resolve))
      try {
        return await work()
      } finally {
        // A slot that somebody waits for is handed over, never freed in between.
        const next = waiting.shift()
        if (next) next()
        else free += 1
      }
    },
  }
}

/** Work that may wait for long while it has its slot: it gets at most half of them, so that the rest is there for what is quick. */
export function halfOf(slots: Slots, count: number): Slots {
  const half = createSlots(Math.max(1, Math.floor(count / 2)))
  return { run: (work) => half.run(() => slots.run(work)) }
}

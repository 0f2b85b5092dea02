import { setTimeout as delay } from 'node:timers/promises'
import test from 'ava'
import { pointOrders, readable, threePoints } from '../../test/harness/point-orders.ts'
import type { Target, Watch } from '../transfer/transfer.ts'
import { OpenChains } from './open-chains.ts'
import type { PointTools } from './point-tools.ts'

const FAR_MS = 50

test('a chain that takes longer to open than anybody waits is open for who asks again', async (t) => {
  const made = await pointOrders(t)
  const { refs } = await threePoints(made)
  let opened = 0
  const tools: PointTools = {
    ...made.tools.points,
    async lease(request) {
      const lease = await made.tools.points.lease(request)
      const get = async (path: string, watch: Watch) => {
        opened += 1
        await delay(FAR_MS, undefined, { signal: watch.signal })
        return lease.target.get(path, watch)
      }
      // as: of a target chains use nothing else
      return { ...lease, target: { get } as Target }
    },
  }
  await using chains = new OpenChains(tools)
  const { target, series, chain } = readable(made, refs)
  const request = { target, series, refs: chain, sealed: undefined, context: 'read/x' }
  const ask = (patienceMs: number) =>
    chains.use(request, AbortSignal.timeout(patienceMs), async ({ chain: { points } }) => points.length)
  // One waits on while another, who began it, gives up.
  const [first, second] = [ask(FAR_MS * 4), ask(FAR_MS * 200)]
  await t.throwsAsync(first)
  t.is(await second, refs.length)
  const once = opened
  t.is(await ask(FAR_MS), refs.length)
  t.is(opened, once)
})

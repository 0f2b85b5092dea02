import type { RouteEntry, World } from './route-entries.ts'

/** Of a pool that is there and a snapshot that is not: it is ordered, and its one element fails. */
function element({ name }: World) {
  const own = name()
  return {
    ...{ src: 'alpha-pool/none@1', dst: `alpha-pool/${own}`, wwn: `iqn.2026-01.test:${own}` },
    initiators: ['iqn.2026-01.test:initiator'],
  }
}

/** A job of the first tenant. @returns its id. */
async function job(world: World): Promise<string> {
  const { fleet, tokens } = world
  const body = { clones: [element(world)] }
  const answer = await fleet.call('POST', '/lun/api/v1.0/clone', body, { token: tokens.operator })
  return answer.body.job_id
}

/** Another tenant may ask the same of its own. */
const ordered: RouteEntry = { input: (world) => ({ body: { clones: [element(world)] } }), other: 201 }

export const EMULAB_ENTRIES: Readonly<Record<string, RouteEntry>> = {
  'emulab.createClones': ordered,
  'emulab.deleteClones': ordered,
  'emulab.cloneStatus': { input: async (world) => ({ params: { job_id: await job(world) } }) },
  'emulab.cloneTest': { other: 200 },
  'emulab.cloneTestByPost': { other: 200 },
}

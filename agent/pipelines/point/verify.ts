import assert from 'node:assert/strict'
import { FleetError } from '../../../shared/errors.ts'
import type { PointVerified } from '../../../shared/point-spec.ts'
import { type VerifiedArchives, verifyArchives } from '../../points/verify-archives.ts'
import type { Pipeline } from '../pipeline.ts'
import { named } from './steps.ts'

const MAX_MEMBERS = 100

/** Every archive that the point needs is read again, whole, and compared with what was recorded when it was written. */
export const verifyPoint: Pipeline<'point.verify'> = (spec, jobId, { points }) => {
  let verified: PointVerified | undefined
  return {
    steps: [
      named(
        'verify',
        async (context) => {
          const lease = await points.lease({ target: spec.target, sealed: context.secret, context: `order/${jobId}` })
          const turn = await points.turn(context.signal).catch(async (error: unknown) => {
            await lease[Symbol.asyncDispose]()
            throw error
          })
          try {
            const found = await verifyArchives({ lease, series: spec.series, refs: spec.chain, tools: points }, context)
            if (found.damagedCount > 0) throw damaged(found)
            verified = { files: found.files, bytes: found.bytes }
          } finally {
            turn()
            await lease[Symbol.asyncDispose]()
          }
        },
        'verify',
      ),
    ],
    result() {
      assert(verified)
      return verified
    },
  }
}

function damaged({ damagedCount: count, damaged: members, damagedPoints: points }: VerifiedArchives): FleetError {
  const message = `${count} ${count === 1 ? 'file of the point is' : 'files of the point are'} damaged or missing`
  return new FleetError('corrupt', message, { members: members.slice(0, MAX_MEMBERS), points })
}

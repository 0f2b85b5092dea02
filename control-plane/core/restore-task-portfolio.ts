import { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'
import { PointName } from '../../shared/point-spec.ts'
import { checkRequest } from './check-request.ts'
import type { RestorePoint } from './points.ts'
import type { SourceType } from './schedules.ts'

/** What a portfolio names. */
export interface Portfolio {
  /** A backup's name, or its number. */
  readonly backup: string
  /** Null: the newest good one. */
  readonly point: string | null
}

/** @throws invalid. */
export function parsePortfolio(text: string): Portfolio {
  const [backup = '', point, ...rest] = text.replace(/^\/+|\/+$/g, '').split('/')
  if (rest.length > 0 || backup === '') {
    throw new FleetError('invalid', 'portfolio: must be the name or id of a backup, and a timestamp if wanted', {
      field: 'portfolio',
    })
  }
  if (point !== undefined) checkRequest(z.object({ portfolio: PointName }), { portfolio: point })
  return { backup, point: point ?? null }
}

/** Where a restore goes. @param there the host of a dataset of that name, if there is one: it takes the place of all that it holds. @throws refused: a directory without a host, which no task is. */
export function restoreRequest(task: {
  readonly type: SourceType
  readonly container: string
  readonly host: string | null
  readonly start: boolean
  readonly there: string | undefined
}): RestorePoint {
  const { type, container, start, there } = task
  const host = task.host ?? undefined
  if (type === 'lxc' || type === 'docker') {
    return { destination: { instance: container, type, host, start, replace: true } }
  }
  if (type === 'dataset' && (there === undefined || (host ?? there) !== there)) {
    return { destination: { newDataset: container, host } }
  }
  if (type === 'dataset') return { destination: { dataset: container, path: '/' }, overwrite: true }
  if (host !== undefined) return { destination: { host, path: container }, overwrite: true }
  throw new FleetError('refused', 'nobody knows on which host the directory is')
}

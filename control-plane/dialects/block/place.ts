import { ItemParams, NoParams, ProjectItem, ProjectParams } from './schemas.ts'

/** Where volumes or snapshots are found: under a project, or at the gateway, for whom the caller acts by itself. */
export function underProject(collection: string) {
  return { base: `/v3/:project/${collection}`, collection: ProjectParams, item: ProjectItem, named: '' } as const
}

export function atGateway(resource: string) {
  return { base: `/v1/block/${resource}`, collection: NoParams, item: ItemParams, named: 'Gateway' } as const
}

export type Place = ReturnType<typeof underProject> | ReturnType<typeof atGateway>

/** The collection's path as it was asked for. */
export function baseOf({ base }: Pick<Place, 'base'>, params: unknown): string {
  const project = typeof params === 'object' && params !== null && 'project' in params ? String(params.project) : ''
  return base.replace(':project', encodeURIComponent(project))
}

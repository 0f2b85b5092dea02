import type { Pipeline } from '../pipeline.ts'
import { ClonedTree } from './cloned-tree.ts'
import { InstanceMaking } from './making.ts'
import { InstancePlacement } from './placement.ts'

/**
 * A new instance from one that may run, on the same host. Its configuration is this host's own and is trusted; what was mounted in the
 * original is cloned with it, so neither ever writes what the other reads.
 */
export const cloneInstance: Pipeline<'instance.clone'> = (spec, jobId, tools) => {
  const { source, name, start } = spec
  const request = { name, jobId, identity: 'new', trusted: true, replace: null } as const
  const making = new InstanceMaking({
    tree: new ClonedTree(spec, jobId, tools),
    placement: new InstancePlacement(tools.instances(source.type), request, tools),
    start,
    admit: async () => undefined,
    subject: 'clone',
  })
  return {
    steps: making.steps,
    committed: () => making.isCommitted,
    result() {
      const { tree, made } = making.result()
      // Engines read the root into an image of their own.
      return { ...tree, cow: tree.cow && source.type === 'lxc', made }
    },
    close: () => making.close(),
  }
}

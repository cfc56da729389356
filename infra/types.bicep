// Types that several files share.

@export()
@description('Tags of a resource, by name.')
type Tags = { *: string }

@export()
@description('An entry of subscriptions.json: docs/configuration.md.')
type Declaration = {
  resource: string
  changeTypes: ('created' | 'updated' | 'deleted')[]
  includeResourceData: bool?
  tenantId: string?
  hydrate: bool?
  consent: ('tenant' | 'resource')?
  forEach: (string | string[])?
  readBack: bool?
}

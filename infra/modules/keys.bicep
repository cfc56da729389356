// The app's own vault: its encryption keys and its two secrets, and nothing else, since it may read all of it.
// infra/deploy.sh puts the secrets there, so that no template and no deployment's history holds one.
import { Tags } from '../types.bicep'

param name string
param location string
param tags Tags
param workspaceId string

@description('Who may use it.')
param principalId string

var secretsUser = '4633458b-17de-408a-b874-0445c86b69e6'

module vault 'vault.bicep' = {
  params: { name: name, location: location, tags: tags, workspaceId: workspaceId }
}

resource made 'Microsoft.KeyVault/vaults@2025-05-01' existing = {
  name: name
}

// The built-in role for certificates may delete and import them as well.
resource keyKeeper 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(resourceGroup().id, 'graph-relay-key-keeper')
  properties: {
    // A tenant has one role of a name, and may have several groups of one.
    roleName: 'Graph Relay key keeper (${resourceGroup().name}, ${take(subscription().subscriptionId, 8)})'
    description: 'Make certificates in a key vault, read them, and disable versions'
    type: 'CustomRole'
    assignableScopes: [resourceGroup().id]
    permissions: [
      {
        actions: []
        notActions: []
        dataActions: [
          'Microsoft.KeyVault/vaults/certificates/create/action'
          'Microsoft.KeyVault/vaults/certificates/read'
          'Microsoft.KeyVault/vaults/certificates/update/action'
        ]
        notDataActions: []
      }
    ]
  }
}

resource mayKeepKeys 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: made
  name: guid(made.id, principalId, keyKeeper.id)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    // Not keyKeeper.id, which names the group: Azure keeps a definition by its subscription, and compares.
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', keyKeeper.name)
  }
  dependsOn: [vault]
}

resource mayReadSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: made
  name: guid(made.id, principalId, secretsUser)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', secretsUser)
  }
  dependsOn: [vault]
}

output url string = vault.outputs.url

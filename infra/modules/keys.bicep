// The app's own vault: its encryption keys and its two secrets, and nothing else, since it may read all of it.
param name string
param location string
param tags object
param workspaceId string

@description('Who may use it.')
param principalId string

@secure()
param clientStateSecret string

@secure()
param destinationSecret string

var secretsUser = '4633458b-17de-408a-b874-0445c86b69e6'

module vault 'vault.bicep' = {
  name: '${deployment().name}-vault'
  params: { name: name, location: location, tags: tags, workspaceId: workspaceId }
}

resource made 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: name
}

resource clientState 'Microsoft.KeyVault/vaults/secrets@2024-11-01' = if (!empty(clientStateSecret)) {
  parent: made
  name: 'client-state-secret'
  properties: { value: clientStateSecret }
  dependsOn: [vault]
}

resource destination 'Microsoft.KeyVault/vaults/secrets@2024-11-01' = if (!empty(destinationSecret)) {
  parent: made
  name: 'destination-secret'
  properties: { value: destinationSecret }
  dependsOn: [vault]
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
    roleDefinitionId: keyKeeper.id
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

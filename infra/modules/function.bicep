// The function app, on Flex Consumption. What it is told lies in settings.bicep.
param name string
param location string
param tags object
param identityId string
param deploymentContainerUrl string
param alwaysReady int
param instanceMemoryMB int
param maximumInstances int

@description('The one subnet that may call the app; empty: anybody may.')
param onlySubnetId string

@description('Notifications that one instance receives at a time; the rest of its threads stay free for the 202.')
param httpConcurrency int = 16

resource plan 'Microsoft.Web/serverfarms@2024-11-01' = {
  name: name
  location: location
  tags: tags
  kind: 'functionapp'
  sku: { name: 'FC1', tier: 'FlexConsumption' }
  properties: { reserved: true }
}

resource app 'Microsoft.Web/sites@2024-11-01' = {
  name: name
  location: location
  tags: tags
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identityId}': {} }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    keyVaultReferenceIdentity: identityId
    functionAppConfig: {
      runtime: { name: 'python', version: '3.13' }
      deployment: {
        storage: {
          type: 'blobContainer'
          value: deploymentContainerUrl
          authentication: { type: 'UserAssignedIdentity', userAssignedIdentityResourceId: identityId }
        }
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstances
        alwaysReady: [{ name: 'http', instanceCount: alwaysReady }]
        triggers: { http: { perInstanceConcurrency: httpConcurrency } }
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      ftpsState: 'Disabled'
      ipSecurityRestrictionsDefaultAction: empty(onlySubnetId) ? 'Allow' : 'Deny'
      ipSecurityRestrictions: empty(onlySubnetId) ? [] : [
        { name: 'gateway', action: 'Allow', priority: 100, vnetSubnetResourceId: onlySubnetId }
      ]
      // Deploying goes through this other site, which asks for an Entra token.
      scmIpSecurityRestrictionsUseMain: false
      scmIpSecurityRestrictionsDefaultAction: 'Allow'
    }
  }

  resource noPasswordToDeploy 'basicPublishingCredentialsPolicies' = {
    name: 'scm'
    properties: { allow: false }
  }

  resource noPasswordForFtp 'basicPublishingCredentialsPolicies' = {
    name: 'ftp'
    properties: { allow: false }
  }
}

output name string = app.name
output hostName string = app.properties.defaultHostName

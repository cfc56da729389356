// The public face: TLS, and a firewall that lets Graph post notifications and nobody do anything else.
import { Tags } from '../types.bicep'

param name string
param location string
param tags Tags
param subnetId string
param hostName string
param backendName string
param graphAddresses string[]
param workspaceId string

@description('The vault of infra/certificate-vault.bicep.')
param certificateVaultName string

@description('Of the certificate in that vault.')
param certificateName string = 'gateway-tls'

var gatewayName = '${name}-gateway'

resource address 'Microsoft.Network/publicIPAddresses@2025-05-01' = {
  name: gatewayName
  location: location
  tags: tags
  sku: { name: 'Standard' }
  properties: { publicIPAllocationMethod: 'Static' }
}

// Made by infra/certificate-vault.bicep, with its role on the vault.
resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: gatewayName
}

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' existing = {
  name: certificateVaultName
}

resource firewall 'Microsoft.Network/ApplicationGatewayWebApplicationFirewallPolicies@2025-05-01' = {
  name: gatewayName
  location: location
  tags: tags
  properties: {
    policySettings: {
      state: 'Enabled'
      mode: 'Prevention'
      // Bodies are megabytes of ciphertext: nothing for patterns to find, and beyond the firewall's limits.
      requestBodyCheck: false
      requestBodyEnforcement: false
    }
    customRules: [
      {
        name: 'notifications'
        priority: 10
        ruleType: 'MatchRule'
        action: 'Allow' // and no further rule is asked: a handshake is made to look odd
        matchConditions: [
          { matchVariables: [{ variableName: 'RemoteAddr' }], operator: 'IPMatch', matchValues: graphAddresses }
          { matchVariables: [{ variableName: 'RequestMethod' }], operator: 'Equal', matchValues: ['POST'] }
          {
            matchVariables: [{ variableName: 'RequestUri' }]
            operator: 'BeginsWith'
            matchValues: ['/api/notifications']
          }
        ]
      }
      {
        name: 'nothingElse'
        priority: 20
        ruleType: 'MatchRule'
        action: 'Block'
        matchConditions: [
          { matchVariables: [{ variableName: 'RequestUri' }], operator: 'Any', matchValues: [] }
        ]
      }
    ]
    managedRules: {
      managedRuleSets: [{ ruleSetType: 'Microsoft_DefaultRuleSet', ruleSetVersion: '2.1' }]
    }
  }
}

resource gateway 'Microsoft.Network/applicationGateways@2025-05-01' = {
  name: gatewayName
  location: location
  tags: tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identity.id}': {} }
  }
  properties: {
    sku: { name: 'WAF_v2', tier: 'WAF_v2' }
    autoscaleConfiguration: { minCapacity: 1, maxCapacity: 10 }
    firewallPolicy: { id: firewall.id }
    sslPolicy: { policyType: 'Predefined', policyName: 'AppGwSslPolicy20220101' }
    sslCertificates: [
      {
        name: certificateName
        // Without a version: the gateway picks up a renewed certificate within four hours.
        properties: { keyVaultSecretId: '${vault.properties.vaultUri}secrets/${certificateName}' }
      }
    ]
    gatewayIPConfigurations: [{ name: 'subnet', properties: { subnet: { id: subnetId } } }]
    frontendIPConfigurations: [{ name: 'public', properties: { publicIPAddress: { id: address.id } } }]
    frontendPorts: [{ name: 'https', properties: { port: 443 } }]
    httpListeners: [
      {
        name: 'https'
        properties: {
          protocol: 'Https'
          hostName: hostName
          frontendIPConfiguration: {
            id: resourceId('Microsoft.Network/applicationGateways/frontendIPConfigurations', gatewayName, 'public')
          }
          frontendPort: { id: resourceId('Microsoft.Network/applicationGateways/frontendPorts', gatewayName, 'https') }
          sslCertificate: {
            id: resourceId('Microsoft.Network/applicationGateways/sslCertificates', gatewayName, certificateName)
          }
        }
      }
    ]
    backendAddressPools: [{ name: 'relay', properties: { backendAddresses: [{ fqdn: backendName }] } }]
    probes: [
      {
        name: 'relay'
        properties: {
          protocol: 'Https'
          path: '/'
          pickHostNameFromBackendHttpSettings: true
          interval: 30
          timeout: 10
          unhealthyThreshold: 3
          match: { statusCodes: ['200-399'] }
        }
      }
    ]
    backendHttpSettingsCollection: [
      {
        name: 'relay'
        properties: {
          protocol: 'Https'
          port: 443
          requestTimeout: 10
          pickHostNameFromBackendAddress: true
          probe: { id: resourceId('Microsoft.Network/applicationGateways/probes', gatewayName, 'relay') }
        }
      }
    ]
    requestRoutingRules: [
      {
        name: 'relay'
        properties: {
          priority: 100
          ruleType: 'Basic'
          httpListener: { id: resourceId('Microsoft.Network/applicationGateways/httpListeners', gatewayName, 'https') }
          backendAddressPool: {
            id: resourceId('Microsoft.Network/applicationGateways/backendAddressPools', gatewayName, 'relay')
          }
          backendHttpSettings: {
            id: resourceId('Microsoft.Network/applicationGateways/backendHttpSettingsCollection', gatewayName, 'relay')
          }
        }
      }
    ]
  }
}

resource blocked 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: gateway
  name: 'firewall'
  properties: {
    workspaceId: workspaceId
    logAnalyticsDestinationType: 'Dedicated' // the table AGWFirewallLogs
    logs: [{ category: 'ApplicationGatewayFirewallLog', enabled: true }]
  }
}

output id string = gateway.id
output address string = address.properties.ipAddress
